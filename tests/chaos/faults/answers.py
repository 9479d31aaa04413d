"""A5 to A11: what Apple answers when it is in trouble, overrun, slow, or displeased with provider tokens."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Final

from dispatcher import Lane, Outcome
from dispatcher.dev.children import poll
from dispatcher.dev.simulator import Answer, Fault
from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token
from tests.chaos.faults.load import delays_s, percentile, provider_tokens, steadily
from tests.chaos.ledger import ACCEPTED
from tests.chaos.producer import DEVICES
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless

#: Apple's 15 minutes become 9 s.
SLOWLY: Final = {"retry_scale": 0.01}
RETRY_AFTER_S: Final = 200
#: An answer that was under way when the first ones closed the endpoint.
UNDER_WAY_S: Final = 0.3
#: Retry-After is never cut short, and prolonged by a quarter at most; what is due is found by a sweep now and then.
LATE_S: Final = 1.5
EMPTY: Final = 20
HOT: Final = "ab" * 32
HOT_TIMES: Final = 3
OTHERS_WITHIN_S: Final = 1.0
DEVICES_OF_STORM: Final = 10_000
GONE_SHARE: Final = 5  # of which four are gone
LEAST_SHARE: Final = 0.25
CAMPAIGN: Final = 20_000
ANSWER_AFTER_S: Final = 5.0
CALLS: Final = 100
CALL_WITHIN_S: Final = 0.25


def _in_trouble(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT], development=SLOWLY) as rig:
        sender = rig.sender()
        rig.apns.faults.add(Fault(answer=Answer(status=500), body=b""), times=EMPTY, rate=0.2)
        steadily(rig, sender.alert, rate=60, seconds=2)
        rig.drain(within_s=60)
        storm = rig.apns.faults.add(
            Fault(answer=Answer(status=503, reason="ServiceUnavailable"), retry_after_s=RETRY_AFTER_S)
        )
        steadily(rig, sender.alert, rate=40, seconds=10)
        rig.apns.faults.remove(storm)
        found = settled(rig)
        refused = [request.at for request in rig.arrived() if request.status == 503]
        gaps = [later - earlier for earlier, later in pairwise(refused) if later - earlier > UNDER_WAY_S]
        least_s = RETRY_AFTER_S * SLOWLY["retry_scale"]
        outcomes = rig.account().outcomes
        facts = {"requests": len(refused), "probes every": f"{min(gaps):.1f} to {max(gaps):.1f} s, told {least_s:g} s"}
        return found.with_facts(**facts).but(
            *unless(least_s <= min(gaps) and max(gaps) <= least_s * 1.25 + LATE_S, "Retry-After was not obeyed"),
            *unless(len(refused) <= 40, f"{len(refused)} requests met an Apple in trouble"),
            *unless(set(outcomes) == {Outcome.DELIVERED}, f"ended {dict(outcomes)}"),
        )


def _one_device_overrun(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT], development={"retry_scale": 0.02}) as rig:
        sender = rig.sender()
        rule = rig.apns.faults.add("too_many_requests", device_token=HOT, times=HOT_TIMES)
        for _ in range(HOT_TIMES):
            sender.alerts_to([HOT])
        steadily(rig, sender.alert, rate=80, seconds=2)
        found = settled(rig).with_facts(refused=rule.hits)
        others_s = percentile(delays_s(rig, lambda each: each.device_token != HOT), 99)
        taken = [request.at for request in rig.arrived() if request.device_token == HOT and request.status == ACCEPTED]
        asked = min(request.at for request in rig.arrived() if request.device_token == HOT)
        return found.with_facts(others_p99=f"{others_s:.2f} s", the_device_waited=f"{min(taken) - asked:.1f} s").but(
            *unless(others_s <= OTHERS_WITHIN_S, f"others came {others_s:.1f} s late"),
            *unless(min(taken) - asked >= 1.2, "the device was not left alone"),
        )


def _provider_token_expires(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT, Lane.ALERT], development={"retry_scale": 1.0}) as rig:
        sender = rig.sender()
        for _ in range(15):
            sender.bulk()
        rig.drain(within_s=30)
        rig.advance(3600)
        for _ in range(2):
            sender.alerts_to([device_token(number) for number in range(250)])
        found = settled(rig)
        requests = list(rig.arrived())
        expired = sum(request.status == 403 for request in requests)
        spoilt = {request.connection for request in requests if request.status == 403}
        last = {request.connection: request.status for request in requests}
        return found.with_facts(
            refused=expired, connections_refused=len(spoilt), provider_tokens=provider_tokens(rig)
        ).but(
            *unless(expired > 0, "nothing was refused"),
            *unless(provider_tokens(rig) == 2, f"{provider_tokens(rig)} provider tokens in two windows"),
            *unless(not rig.told("apns_paused"), "the key was paused"),
            *unless(all(last[each] == 403 for each in spoilt), "a connection was used after it had been refused"),
        )


def _too_many_provider_tokens(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT, Lane.ALERT]) as rig:
        sender = rig.sender()
        for _ in range(3):
            sender.bulk()
        rig.drain(within_s=30)
        churn = Fault(answer=Answer(status=429, reason="TooManyProviderTokenUpdates"))
        rule, begun = rig.apns.faults.add(churn), time.time()
        steadily(rig, sender.alert, rate=60, seconds=2.4)  # Apple's 20 minutes on the scale of the rig
        rig.apns.faults.remove(rule)
        refused_for_s = time.time() - begun
        found = settled(rig).with_facts(refused=rule.hits, provider_tokens=provider_tokens(rig))
        alarms, rests = rig.told("apns_rests"), refused_for_s / 0.6 + 1
        outcomes = rig.account().outcomes
        return found.with_facts(alarms=f"{len(alarms)} in {refused_for_s / 0.002 / 60:.0f} scaled minutes").but(
            *unless(provider_tokens(rig) == 1, f"{provider_tokens(rig)} provider tokens"),
            *unless(rule.hits <= 60, f"{rule.hits} requests met an Apple that wants rest"),
            *unless(1 <= len(alarms) <= 2 * rests, f"{len(alarms)} alarms"),
            *unless(set(outcomes) == {Outcome.DELIVERED}, f"ended {dict(outcomes)}"),
        )


def _clocks_differ(directory: Path) -> Findings:
    with Rig(directory, lanes=[]) as rig:
        rig.advance(1800 + 900 - rig.now() % 1800)  # a skew of 20 minutes then leads into another window
        for skew_s in (-1200, 0, 1200):
            rig.start_worker(Lane.ALERT, app="tests.chaos.skewed", env={"CHAOS_SKEW_S": str(skew_s)})
        rig.wait_until_ready()
        sender = rig.sender()
        steadily(rig, sender.alert, rate=80, seconds=4)
        found = settled(rig).with_facts(provider_tokens=provider_tokens(rig))
        requests = list(rig.arrived())
        refused = sum(request.status != ACCEPTED for request in requests)
        connections = len({request.connection for request in requests})
        return found.with_facts(connections=connections).but(
            *unless(provider_tokens(rig) == 1, f"{provider_tokens(rig)} provider tokens"),
            *unless(not refused, f"{refused} refused"),
            *unless(connections >= 3, f"only {connections} connections: not every worker sent"),
        )


def _devices_gone(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        sender = rig.sender()
        sender.alerts_to([device_token(number) for number in range(2000)])
        rig.drain(within_s=60)
        normal = _rate(rig, 0)
        before = rig.arrivals()
        rig.apns.faults.add(Fault(max_streams=1), device_token=Form.UNREGISTERED)
        rig.apns.faults.add(Fault(max_streams=1000), device_token=device_token(0)[0])
        sender.alerts_to([_living_or_gone(number) for number in range(DEVICES_OF_STORM)])
        found = settled(rig)
        storm, requests = _rate(rig, before), rig.arrivals() - before
        gone = rig.account().outcomes[Outcome.UNREGISTERED]
        expected = DEVICES_OF_STORM - DEVICES_OF_STORM // GONE_SHARE
        return found.with_facts(rate=f"{storm:.0f}/s", rate_before=f"{normal:.0f}/s", told_gone=gone).but(
            *unless(gone == expected, f"{gone} of {expected} told"),
            *unless(requests == DEVICES_OF_STORM, f"{requests} requests for {DEVICES_OF_STORM}"),
            *unless(storm >= LEAST_SHARE * normal, f"{storm / normal:.0%} of the rate before"),
        )


def _living_or_gone(number: int) -> str:
    return special_device_token(Form.UNREGISTERED, number) if number % GONE_SHARE else device_token(DEVICES + number)


def _rate(rig: Rig, first: int) -> float:
    """Return how many requests came in a second, from the n-th on."""
    times = [request.at for request in rig.arrived()][first:]
    return len(times) / (max(times) - min(times))


def _slow_for_alerts(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT, Lane.VOIP]) as rig:
        sender = rig.sender()
        steadily(rig, sender.call, rate=50, seconds=1)
        slow = rig.apns.faults.add(
            Fault(delay_s=ANSWER_AFTER_S), when=lambda request: request.header("apns-push-type") == "alert"
        )
        sender.alerts_to([device_token(number) for number in range(CAMPAIGN)])
        assert poll(lambda: slow.hits > 5, within_s=10), rig.describe()
        called = time.time()
        steadily(rig, sender.call, rate=25, seconds=CALLS / 25)
        rig.wait(1)
        waiting = CAMPAIGN - slow.hits
        delays = delays_s(rig, lambda each: each.lane is Lane.VOIP and each.at >= called)
        rig.apns.faults.remove(slow)
        found = settled(rig, calls_p50=f"{percentile(delays, 50) * 1000:.0f} ms")
        slowest_s = percentile(delays, 99)
        return found.with_facts(calls_p99=f"{slowest_s * 1000:.0f} ms", alerts_waiting=waiting).but(
            *unless(slowest_s <= CALL_WITHIN_S, f"one call in a hundred came {slowest_s * 1000:.0f} ms late"),
            *unless(waiting > CAMPAIGN / 2, "the campaign was over before"),
        )


ROWS: Final = (
    Row(
        number="A5",
        fault=f"500 with an empty body now and then; 503 with Retry-After: {RETRY_AFTER_S} (scaled) for 10 s",
        limit="lost 0, all delivered, few requests while it lasts, none sooner than Retry-After",
        run=_in_trouble,
        otherwise="aioapns 4.0 drops the header",
    ),
    Row(
        number="A6",
        fault=f"429 TooManyRequests for one device, {HOT_TIMES} times",
        limit=f"lost 0, that device is left alone, 99 of 100 others leave within {OTHERS_WITHIN_S:g} s",
        run=_one_device_overrun,
        is_quick=True,
    ),
    Row(
        number="A7",
        fault="an hour passes unseen: ExpiredProviderToken for 500 in flight on all connections",
        limit="lost 0, all delivered, one provider token in its place, no connection used again that was refused",
        run=_provider_token_expires,
    ),
    Row(
        number="A8",
        fault="TooManyProviderTokenUpdates for 20 minutes (scaled)",
        limit="lost 0, no new provider token, few requests while it lasts, an alarm per rest and process",
        run=_too_many_provider_tokens,
    ),
    Row(
        number="A9",
        fault="three workers whose hosts' clocks are 20 minutes apart from each other",
        limit="lost 0, one provider token, nothing refused",
        run=_clocks_differ,
    ),
    Row(
        number="A10",
        fault=f"{DEVICES_OF_STORM} devices, four of five Unregistered, one stream only after each of them",
        limit=f"each told once, none tried again, at least {LEAST_SHARE:.0%} of the rate before",
        run=_devices_gone,
    ),
    Row(
        number="A11",
        fault=f"{CAMPAIGN} alerts whose answers take {ANSWER_AFTER_S:g} s, and calls",
        limit=f"lost 0, no call late, 99 of 100 leave within {CALL_WITHIN_S * 1000:.0f} ms",
        run=_slow_for_alerts,
    ),
)
