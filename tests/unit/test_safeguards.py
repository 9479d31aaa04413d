"""What a process holds back on its own, and when it sends again."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.pausing import Scope
from dispatcher.push_types import Environment, Lane
from dispatcher.settings import App
from tests.worker_parts import APP
from workers import probing
from workers.device_surge import SURGE, DeviceSurge, Health
from workers.reasons import judge
from workers.safeguards import SUSPECT_ENVIRONMENT, Hold, Pass, Safeguards, Watch
from workers.start_gate import StartGate
from workers.transport.port import ApnsAnswer
from workers.trouble import Trouble

NOW = 1000.0
KEY = Scope(key_id=APP.key_id)
ACCEPTED = ApnsAnswer(status=200)
WRONG_KEY = ApnsAnswer(status=403, reason="InvalidProviderToken")
BAD_DEVICE = ApnsAnswer(status=400, reason="BadDeviceToken")
EXPIRED_TOKEN = ApnsAnswer(status=403, reason="ExpiredProviderToken")
CHURN = ApnsAnswer(status=429, reason="TooManyProviderTokenUpdates")
BUSY = ApnsAnswer(status=503, reason="ServiceUnavailable")


def watch_of(safeguards: Safeguards, *, app: App = APP, lane: Lane = Lane.ALERT) -> Watch:
    """Return the watch of pushes to production."""
    return safeguards.watch(app, lane, Environment.PRODUCTION)


def note(watch: Watch, answer: ApnsAnswer, *, now: float = NOW, way: Pass = Pass.FREE) -> Trouble | None:
    """Note an answer."""
    return watch.note(answer, judge(answer), way=way, now=now, dice=lambda: 0.0)


def test_a_refused_key_stops_all_its_apps_here() -> None:
    """A key that Apple refuses is used for no app and lane any more, others are; the fleet is told once."""
    safeguards = Safeguards()
    watch = watch_of(safeguards)
    assert note(watch, WRONG_KEY) == Trouble(scope=KEY, reason="InvalidProviderToken")
    assert [note(watch, WRONG_KEY) for _ in range(8)] == [None] * 8
    sibling = App(
        bundle_id="com.example.sibling",
        key_id=APP.key_id,
        environment=Environment.PRODUCTION,
        background_per_hour=3,
        background_spacing_s=1200.0,
    )
    stranger = App(
        bundle_id="com.example.app",
        key_id="KEYID67890",
        environment=Environment.PRODUCTION,
        background_per_hour=3,
        background_spacing_s=1200.0,
    )
    assert isinstance(watch_of(safeguards, app=sibling, lane=Lane.VOIP).admit(NOW, is_probe=False), Hold)
    assert watch_of(safeguards, app=stranger).admit(NOW, is_probe=False) is Pass.FREE


def test_too_many_provider_tokens_rest_the_key_alone() -> None:
    """A key whose provider tokens changed too often rests for five minutes: one alarm, nothing for the fleet."""
    watch = watch_of(Safeguards())
    news = Trouble(scope=KEY, reason="TooManyProviderTokenUpdates", ends_by_itself=True)
    assert [note(watch, CHURN) for _ in range(8)] == [news] + [None] * 7
    assert isinstance(watch.admit(NOW + 299.0, is_probe=False), Hold)
    assert watch.admit(NOW + 300.0, is_probe=False) is Pass.FREE
    assert note(watch, CHURN, now=NOW + 300.0) == news


def test_a_local_stop_is_probed_at_a_growing_distance() -> None:
    """After 2, 4, 8 ... seconds one push is the probe; each that is refused is news for the fleet."""
    watch = watch_of(Safeguards())
    note(watch, WRONG_KEY)
    now = NOW
    for distance_s in (2.0, 4.0, 8.0):
        assert isinstance(watch.admit(now + distance_s - 0.1, is_probe=False), Hold)
        now += distance_s
        assert watch.admit(now, is_probe=False) is Pass.PROBE
        assert isinstance(watch.admit(now, is_probe=False), Hold), "one at a time"
        assert note(watch, WRONG_KEY, now=now, way=Pass.PROBE) is not None


def test_only_a_probe_ends_a_local_stop() -> None:
    """Answers to what left before it end nothing; a probe that Apple takes does, and silence makes room for another."""
    watch = watch_of(Safeguards())
    note(watch, WRONG_KEY)
    note(watch, ACCEPTED)
    assert not watch.is_open(NOW)
    assert watch.admit(NOW + 2, is_probe=False) is Pass.PROBE
    watch.note_silence(way=Pass.PROBE, was_sent=True, now=NOW + 2)
    assert watch.admit(NOW + 2, is_probe=False) is Pass.PROBE
    note(watch, BUSY, now=NOW + 2, way=Pass.PROBE)
    assert watch.admit(NOW + 2, is_probe=False) is Pass.PROBE
    note(watch, ACCEPTED, now=NOW + 2, way=Pass.PROBE)
    assert watch.admit(NOW + 2, is_probe=False) is Pass.FREE


def test_an_expired_provider_token_has_one_more_chance() -> None:
    """One that is refused on old connections is tried on fresh ones; refused there too, its key is stopped."""
    watch = watch_of(Safeguards())
    assert [note(watch, EXPIRED_TOKEN, now=NOW + after_s) for after_s in (0.0, 1.0)] == [None, None]
    note(watch, ACCEPTED, now=NOW + 2)
    assert note(watch, EXPIRED_TOKEN, now=NOW + 5) is None, "it is a new one"
    assert note(watch, EXPIRED_TOKEN, now=NOW + 10) == Trouble(scope=KEY, reason="ExpiredProviderToken")


def test_probes_are_not_shortened_without_end() -> None:
    """Development shortens the distance of probes, but Apple still counts them: half a second, up to five."""
    assert [probing.distance_s(probes, 0.002) for probes in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert [probing.distance_s(probes, 1.0) for probes in (0, 1, 7, 8, 100)] == [2.0, 4.0, 256.0, 300.0, 300.0]


def test_a_surge_of_bad_device_tokens_stops_the_app() -> None:
    """When the first twenty answers all refuse the device token, the whole app is suspect, for certain."""
    watch = watch_of(Safeguards())
    found = [note(watch, BAD_DEVICE) for _ in range(SURGE)]
    whole_app = Scope(app=APP.bundle_id)
    assert found == [None] * (SURGE - 1) + [Trouble(scope=whole_app, reason=SUSPECT_ENVIRONMENT, is_certain=True)]
    assert not watch.is_open(NOW)
    assert watch.admit(NOW + 2, is_probe=False) is Pass.PROBE
    assert note(watch, BAD_DEVICE, now=NOW + 2, way=Pass.PROBE) is not None, "the probe failed"
    assert not watch.is_open(NOW + 2)
    assert watch.admit(NOW + 6, is_probe=False) is Pass.PROBE
    note(watch, ACCEPTED, now=NOW + 6, way=Pass.PROBE)
    assert watch.is_open(NOW + 6)


@pytest.mark.parametrize(
    ("good", "bad", "health"),
    [
        (0, 1, Health.UNDECIDED),
        (1, 1, Health.UNDECIDED),
        (2, 1, Health.HEALTHY),
        (19, 19, Health.UNDECIDED),
        (20, 20, Health.SURGE),
        (21, 20, Health.HEALTHY),
        (1000, 49, Health.HEALTHY),
        (1000, 50, Health.SURGE),
    ],
)
def test_what_makes_a_surge(good: int, bad: int, health: Health) -> None:
    """Twenty bad ones that are half of the last hundred are a surge; as long as half are bad nothing is clear."""
    devices = DeviceSurge()
    for is_bad in [False] * good + [True] * bad:
        devices.note(is_bad=is_bad)
    assert devices.health is health


def test_one_in_a_hundred_is_no_surge() -> None:
    """However many bad device tokens come, one in a hundred is just that."""
    devices = DeviceSurge()
    for number in range(10_000):
        devices.note(is_bad=number % 100 == 99)
        assert devices.health is Health.HEALTHY


def test_an_app_starts_with_few_in_flight() -> None:
    """Until the gate opens only so many are in; who leaves lets another in, who gives up waiting holds up nobody."""

    async def run() -> list[int]:
        is_open = False
        gate = StartGate(2, is_open=lambda: is_open)
        inside: list[int] = []

        async def go(number: int) -> None:
            await gate.wait()
            gate.enter()
            inside.append(number)

        going = [asyncio.create_task(go(number)) for number in range(6)]
        await asyncio.sleep(0)
        assert inside == [0, 1]
        gate.leave()
        going[2].cancel()
        await asyncio.wait(going[2:4], timeout=5, return_when=asyncio.ALL_COMPLETED)
        assert inside == [0, 1, 3]
        is_open = True
        gate.leave()
        await asyncio.wait(going, timeout=5)
        return inside

    assert asyncio.run(run()) == [0, 1, 3, 4, 5]
