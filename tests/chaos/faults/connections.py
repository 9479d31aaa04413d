"""A1, A2, A4, A12: connections to Apple that end, fall silent or shrink."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Final

from h2.errors import ErrorCodes

from dispatcher import Lane
from dispatcher.dev.children import poll
from dispatcher.dev.simulator import Fault, FaultRule, Goaway
from dispatcher.dev.simulator.device_tokens import Form, special_device_token
from tests.chaos.faults.load import delays_s, percentile, provider_tokens, steadily
from tests.chaos.faults.workers import IN_FLIGHT
from tests.chaos.ledger import Incident
from tests.chaos.producer import BULK_SIZE
from tests.chaos.proxy import BLACK_HOLE, Network
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless
from workers.lease import LANE_TIMES

#: Slow enough that many pushes are under way when a connection ends.
ANSWER_AFTER_S: Final = 0.05
RESETS: Final = (ErrorCodes.REFUSED_STREAM, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR)
SILENT: Final = 50
NOT_HELD_UP_S: Final = 2.0
BACK_WITHIN_S: Final = 30.0
GOES_ON_WITHIN_S: Final = 20.0


def _goodbyes_in_the_middle(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        sender = rig.sender()
        rig.apns.simulator.switches.latency_s = ANSWER_AFTER_S
        fault = Fault(goaway=Goaway(streams_left_out=1), is_processed=False)
        rule = rig.apns.faults.add(fault, rate=0.03)
        steadily(rig, sender.bulk, rate=200, seconds=3)
        found = settled(rig)
        return found.with_facts(goodbyes=rule.hits).but(
            *unless(rule.hits >= 5, f"only {rule.hits} goodbyes"),
            *unless(found.duplicated == 0, f"{found.duplicated} repeated"),
        )


def _streams_reset(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        sender, begun = rig.sender(), time.time()
        rules = {
            code: rig.apns.faults.add(Fault(reset=code, is_processed=code is not ErrorCodes.REFUSED_STREAM), rate=0.05)
            for code in RESETS
        }
        steadily(rig, sender.alert, rate=80, seconds=4)
        rig.apns.faults.clear()
        rig.incidents.append(Incident(cause="streams reset by Apple", begun=begun, ended=time.time()))
        found = settled(rig).with_facts(**{code.name: rule.hits for code, rule in rules.items()})
        processed = _hits(rules[ErrorCodes.INTERNAL_ERROR], rules[ErrorCodes.NO_ERROR])
        return found.but(
            *unless(all(rule.hits for rule in rules.values()), "not every kind came"),
            *unless(found.duplicated == processed, f"{found.duplicated} repeated, {processed} without an answer"),
        )


def _hits(*rules: FaultRule) -> int:
    return sum(rule.hits for rule in rules)


def _streams_never_answered(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        sender, begun = rig.sender(), time.time()
        for _ in range(6):
            sender.bulk()  # so that there is room for others beside the silent ones
        rig.drain(within_s=30)
        before = rig.arrivals()
        sender.alerts_to([special_device_token(Form.SILENT, number, times=1) for number in range(SILENT)])
        assert poll(lambda: rig.arrivals() >= before + SILENT, within_s=10), rig.describe()
        steadily(rig, sender.alert, rate=30, seconds=4)
        others_s = percentile(delays_s(rig, lambda each: not each.device_token.startswith(Form.SILENT)), 99)
        rig.incidents.append(Incident(cause="never answered", begun=begun, ended=time.time()))
        found = settled(rig).with_facts(others_p99=f"{others_s:.2f} s", provider_tokens=provider_tokens(rig))
        return found.but(
            *unless(found.duplicated == SILENT, f"{found.duplicated} of {SILENT} repeated"),
            *unless(others_s <= NOT_HELD_UP_S, f"others came {others_s:.1f} s late"),
            *unless(provider_tokens(rig) == 1, f"{provider_tokens(rig)} provider tokens"),
        )


def _connection_never_answered(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        sender = rig.sender()
        for _ in range(2):
            sender.bulk()
        rig.drain(within_s=30)
        rig.apns.call(rig.apns.simulator.switches.hold.set)
        before = rig.arrivals()
        sender.bulk()
        assert poll(lambda: rig.arrivals() == before + BULK_SIZE, within_s=10), rig.describe()
        rig.during(
            "black hole to Apple",
            LANE_TIMES[Lane.ALERT].deadline_s + 5,
            lambda: rig.apns_network.set(Network(hold=BLACK_HOLE)),
            partial(_end_black_hole, rig),
        )
        took_s = rig.drain(within_s=BACK_WITHIN_S)
        found = settled(rig, all_delivered_after=f"{took_s:.1f} s", provider_tokens=provider_tokens(rig))
        return found.but(
            *unless(found.duplicated <= BULK_SIZE, f"{found.duplicated} repeated, {BULK_SIZE} were in flight"),
            *unless(provider_tokens(rig) == 1, f"{provider_tokens(rig)} provider tokens"),
        )


def _end_black_hole(rig: Rig) -> None:
    rig.apns_network.reset_all()  # as the NAT gateway that forgot them does
    rig.apns_network.set(Network())
    rig.apns.call(rig.apns.simulator.switches.hold.clear)


def _room_that_shrinks(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        sender, took_s = rig.sender(), {}
        for name in ("always_one_stream", "always_slow_reader", "zero_window"):
            rule = rig.apns.faults.add(name)
            rig.apns.call(rig.apns.simulator.go_away)
            assert poll(lambda: not rig.apns.call(lambda: rig.apns.simulator.clients), within_s=10)
            for _ in range(IN_FLIGHT // BULK_SIZE):
                sender.bulk()
            rig.wait(2)
            rig.apns.faults.remove(rule)
            rig.apns.call(rig.apns.simulator.go_away)  # the next ones have room for a thousand
            took_s[name] = rig.drain(within_s=BACK_WITHIN_S)
        found = settled(rig, **{name: f"{seconds:.1f} s" for name, seconds in took_s.items()})
        slowest_s = max(took_s.values())
        return found.but(
            *unless(slowest_s <= GOES_ON_WITHIN_S, f"done only {slowest_s:.0f} s after it was over"),
            *unless(found.duplicated == 0, f"{found.duplicated} repeated"),
        )


ROWS: Final = (
    Row(
        number="A1",
        fault="GOAWAY in the middle of what is in flight, three in a hundred requests",
        limit="lost 0, repeated 0: what it leaves out goes elsewhere, what it lets through is still answered",
        run=_goodbyes_in_the_middle,
        is_quick=True,
        otherwise="aioapns 4.0: 4 of 10 fail, 1 repeated",
    ),
    Row(
        number="A2",
        fault="RST_STREAM with REFUSED_STREAM, INTERNAL_ERROR, NO_ERROR, five in a hundred of each",
        limit="lost 0, repeated once each if Apple had processed it",
        run=_streams_reset,
        is_quick=True,
        otherwise="aioapns 4.0: hangs, 10 of 10",
    ),
    Row(
        number="A4",
        fault=f"{SILENT} streams that are never answered among others",
        limit="lost 0, each repeated once, the others not held up, no new provider token",
        run=_streams_never_answered,
        otherwise="aioapns 4.0: 50 s, 5 connections, 5 provider tokens for 3 pushes",
    ),
    Row(
        number="A4, all",
        fault=f"a connection that falls silent with {BULK_SIZE} in flight, for 15 s",
        limit=f"lost 0, repeated at most once each, all delivered within {BACK_WITHIN_S:g} s, no new provider token",
        run=_connection_never_answered,
    ),
    Row(
        number="A12",
        fault="one stream only, a slow reader, no room for payloads: 2 s each, then a thousand streams",
        limit=f"lost 0, repeated 0, all delivered {GOES_ON_WITHIN_S:g} s later",
        run=_room_that_shrinks,
    ),
)
