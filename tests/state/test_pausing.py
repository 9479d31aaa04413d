"""Pauses of the fleet: who may make one, who may end it, and who may send a probe."""

from __future__ import annotations

import pytest

from dispatcher import outbox, pausing, redis_keys
from dispatcher.pausing import Pause, PausedBy, Scope
from dispatcher.push_types import Lane
from tests.state.conftest import APP, StateUnderTest

KEY = Scope(key_id="KEYID12345")
WRONG = "InvalidProviderToken"


def report(state: StateUnderTest, host: str, *, scope: Scope = KEY, is_certain: bool = False) -> bool:
    """Report trouble with a key from a host."""
    return bool(state.run(pausing.report_trouble(scope, host, WRONG, is_certain=is_certain, first_probe_s=2)))


def give_sign(state: StateUnderTest, *workers: str) -> None:
    """Let workers give a sign of life."""
    now = state.run(outbox.time())
    state.client.zadd(redis_keys.workers(), dict.fromkeys(workers, now))


def paused(state: StateUnderTest) -> list[Pause]:
    """Return what is paused."""
    found: list[Pause] = state.run(pausing.read())
    return found


def probe(state: StateUnderTest, scope: Scope = KEY) -> bool:
    """Ask for a probe, 2 s after the pause and then at twice the distance, to 5 s."""
    return bool(state.run(pausing.take_probe(scope, first_s=2, longest_s=5)))


def test_two_hosts_make_a_pause(state: StateUnderTest) -> None:
    """One host's word is not enough while others live; a second host's within ten minutes is."""
    give_sign(state, "one:1:alert", "two:1:alert")
    assert not report(state, "one")
    assert not report(state, "one")
    assert paused(state) == []
    assert report(state, "two")
    (pause,) = paused(state)
    assert (pause.scope, pause.reason, pause.by, pause.probes) == (KEY, WRONG, PausedBy.WORKERS, 0)
    assert pause.probe_at - pause.since == pytest.approx(2, abs=0.001)


def test_a_report_is_forgotten(state: StateUnderTest) -> None:
    """What another host said more than ten minutes ago confirms nothing."""
    give_sign(state, "one:1:alert", "two:1:alert")
    assert not report(state, "one")
    state.advance(pausing.REPORT_COUNTS_S + 1)
    give_sign(state, "one:1:alert", "two:1:alert")
    assert not report(state, "two")


def test_the_only_host_confirms_itself(state: StateUnderTest) -> None:
    """Where nobody else lives the second word of the same host is enough; the dead do not count as living."""
    give_sign(state, "two:1:alert")
    state.advance(pausing.SIGN_COUNTS_S + 1)
    give_sign(state, "one:1:alert", "one:2:voip")
    assert not report(state, "one")
    assert report(state, "one")


def test_what_is_certain_needs_no_confirmation(state: StateUnderTest) -> None:
    """A surge of bad device tokens pauses at its first report; reports of it afterwards change nothing."""
    give_sign(state, "one:1:alert", "two:1:alert")
    assert report(state, "one", is_certain=True)
    before = paused(state)
    assert report(state, "two")
    assert paused(state) == before


def test_trouble_with_one_scope_confirms_no_other(state: StateUnderTest) -> None:
    """Two hosts with trouble of their own do not confirm each other."""
    give_sign(state, "one:1:alert", "two:1:alert")
    assert not report(state, "one")
    assert not report(state, "two", scope=Scope(app=APP))


def test_probes_keep_a_growing_distance(state: StateUnderTest) -> None:
    """One probe at a time, each after twice the time, up to the longest."""
    report(state, "one", is_certain=True)
    assert not probe(state)
    for distance_s in (2, 4, 5, 5):
        state.advance(distance_s - 0.5)
        assert not probe(state)
        state.advance(0.51)
        assert probe(state)
        assert not probe(state)
    assert paused(state)[0].probes == 4


def test_nobody_probes_what_is_not_paused_by_workers(state: StateUnderTest) -> None:
    """An operator's pause has no probes, and neither has what is not paused."""
    assert not probe(state)
    assert state.run(pausing.pause(KEY, "operator"))
    state.advance(3600)
    assert not probe(state)


def test_workers_never_end_an_operators_pause(state: StateUnderTest) -> None:
    """An operator's pause takes over that of the workers, and only an operator ends it; either may be ended by one."""
    report(state, "one", is_certain=True)
    assert state.run(pausing.pause(KEY, "operator"))
    assert not state.run(pausing.pause(KEY, "operator")), "it is paused by hand already"
    assert not state.run(pausing.resume(KEY, by=PausedBy.WORKERS))
    assert state.run(pausing.resume(KEY, by=PausedBy.OPERATOR))
    assert not state.run(pausing.resume(KEY, by=PausedBy.OPERATOR))
    report(state, "one", is_certain=True)
    assert state.run(pausing.resume(KEY, by=PausedBy.WORKERS))
    assert paused(state) == []


def test_a_resumed_scope_has_no_past(state: StateUnderTest) -> None:
    """After a pause has ended it takes two words again."""
    report(state, "one")
    report(state, "one")
    state.run(pausing.resume(KEY, by=PausedBy.WORKERS))
    assert not report(state, "one")


@pytest.mark.parametrize(
    ("scope", "is_covered"),
    [
        (Scope(), True),
        (Scope(app=APP), True),
        (Scope(app=APP, lane=Lane.VOIP), True),
        (Scope(app=APP, lane=Lane.ALERT), False),
        (Scope(key_id="KEYID12345"), True),
        (Scope(app="com.example.other", key_id="KEYID12345"), False),
        (Scope(key_id="KEYID67890"), False),
    ],
)
def test_what_a_scope_covers(*, scope: Scope, is_covered: bool) -> None:
    """What a scope names has to fit, all of it; a scope is its field read back."""
    assert scope.covers(APP, Lane.VOIP, "KEYID12345") is is_covered
    assert Scope.parse(str(scope)) == scope
