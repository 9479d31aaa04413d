"""A3: Apple cannot be reached, or whoever answers is not Apple."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from dispatcher import Lane, Outcome
from dispatcher.dev.children import poll
from tests.chaos.faults.load import attempts_used, steadily
from tests.chaos.proxy import Network
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless

APNS_HOST: Final = "localhost"
NO_NAMES: Final = "no-names"
LASTS_S: Final = 6.0
RATE: Final = 40.0
#: The pause after five failures, 8 s at most, and what has gathered meanwhile.
BACK_WITHIN_S: Final = 20.0
#: The first attempt, and one after each of the pauses that fit into the outage: they double from a quarter of a second
#: at least.
MOST_ATTEMPTS: Final = 6

_PLACE: Final = re.compile(rf".*?{APNS_HOST}:\d+:? ")

Switch = Callable[[Rig], Callable[[], object]]


def _refused(rig: Rig) -> Callable[[], object]:
    rig.apns_network.set(Network(is_refusing=True))
    return partial(rig.apns_network.set, Network())


def _nameless(rig: Rig) -> Callable[[], object]:
    file = rig.directory / NO_NAMES
    file.touch()
    return file.unlink


def _badly_met(fault: str) -> Switch:
    def begin(rig: Rig) -> Callable[[], object]:
        return partial(rig.apns.faults.remove, rig.apns.faults.add(fault))

    return begin


def _out_of_reach(directory: Path, *, begin: Switch) -> Findings:
    with Rig(directory, lanes=[], apns_host=APNS_HOST) as rig:
        env = {"CHAOS_APNS_HOST": APNS_HOST, "CHAOS_NO_NAMES": str(directory / NO_NAMES)}
        rig.start_worker(Lane.ALERT, app="tests.chaos.nameless", env=env)
        rig.wait_until_ready()
        sender = rig.sender()
        sender.bulk()
        rig.drain(within_s=30)
        end = begin(rig)
        rig.apns.call(rig.apns.simulator.go_away)
        assert poll(lambda: not rig.apns.call(lambda: rig.apns.simulator.clients), within_s=10)
        before = rig.arrivals()
        steadily(rig, sender.alert, rate=RATE, seconds=LASTS_S)
        arrived, used = rig.arrivals() - before, attempts_used(rig)
        alarms, tries = rig.told("apns_unreachable"), rig.told("apns_connect_failed")
        end()
        ended = time.monotonic()
        steadily(rig, sender.alert, rate=RATE, seconds=1)
        rig.drain(within_s=60)
        back_s = time.monotonic() - ended
        found = settled(
            rig,
            said=_PLACE.sub("", alarms[0]["cause"]) if alarms else "nothing",
            alarms=len(alarms),
            attempts_to_connect=len(tries),
            used_up=used,
            done_after=f"{back_s:.1f} s",
        )
        outcomes = rig.account().outcomes
        return found.but(
            *unless(arrived == 0, f"{arrived} arrived all the same"),
            *unless(used == 0, f"{used} attempts used up"),
            *unless(len(alarms) == 1, f"{len(alarms)} alarms in {LASTS_S:g} s"),
            *unless(len(tries) <= MOST_ATTEMPTS, f"{len(tries)} attempts to connect"),
            *unless(back_s <= BACK_WITHIN_S, f"done only {back_s:.0f} s after it was over"),
            *unless(set(outcomes) == {Outcome.DELIVERED}, f"ended {dict(outcomes)}"),
            *unless(found.duplicated == 0, f"{found.duplicated} repeated"),
        )


_CASES: Final[dict[str, tuple[str, Switch]]] = {
    "A3, refused": ("connections refused", _refused),
    "A3, name": ("Apple's name is unknown to the resolver", _nameless),
    "A3, authority": ("a certificate of an unknown authority", _badly_met("tls_untrusted")),
    "A3, host": ("a certificate of another host", _badly_met("tls_wrong_host")),
    "A3, expired": ("an expired certificate", _badly_met("tls_expired")),
    "A3, ALPN": ("a server that does not speak HTTP/2", _badly_met("tls_no_alpn")),
}
ROWS: Final = tuple(
    Row(
        number=number,
        fault=f"{fault}, for {LASTS_S:g} s",
        limit=f"lost 0, no attempt used up, one alarm a minute with the cause, all done {BACK_WITHIN_S:g} s later",
        run=partial(_out_of_reach, begin=begin),
    )
    for number, (fault, begin) in _CASES.items()
)
