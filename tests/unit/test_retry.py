"""Every reason of Apple's has a verdict, and every verdict a bounded consequence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from workers.reasons import REASONS, Verdict, judge
from workers.retry import (
    NOT_SENT_RULES,
    SILENCE_RULES,
    Circumstances,
    Finish,
    Retry,
    RetryRules,
    decide,
    decide_silence,
    rules_of,
    wait,
)
from workers.transport.port import ApnsAnswer

answers = st.builds(
    ApnsAnswer,
    status=st.integers(100, 599),
    reason=st.sampled_from(["", "SomethingNew", *REASONS]),
    retry_after_s=st.none() | st.floats(0, 1e5),
)
dice = st.floats(0, 1, exclude_max=True)


lanes = st.sampled_from(Lane)


def given_that(
    *,
    lane: Lane = Lane.ALERT,
    attempts: int = 0,
    time_left_s: float | None = None,
    lasted_s: float = 0.0,
    scale: float = 1.0,
    dice: float = 0.0,
    is_second: bool = False,
) -> Circumstances:
    """Return the circumstances of a first attempt without deadline, but for what is given."""
    return Circumstances(
        lane=lane,
        attempts=attempts,
        time_left_s=time_left_s,
        lasted_s=lasted_s,
        scale=scale,
        dice=dice,
        is_second=is_second,
    )


def decide_first(answer: ApnsAnswer) -> Finish | Retry:
    """Decide on a first attempt without deadline."""
    return decide(answer, given_that())


def test_every_verdict_has_a_consequence() -> None:
    """No verdict is without rule: each ends the notification or says when to try again."""
    by_verdict = {verdict: reason for reason, verdict in REASONS.items()}
    for verdict in Verdict:
        answer = (
            ApnsAnswer(status=200)
            if verdict is Verdict.ACCEPTED
            else ApnsAnswer(status=400, reason=by_verdict[verdict])
        )
        assert judge(answer) is verdict
        assert decide_first(answer)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (400, Verdict.REFUSED),
        (403, Verdict.KEY_REFUSED),
        (404, Verdict.REFUSED),
        (410, Verdict.DEVICE_GONE),
        (429, Verdict.SLOW_DOWN),
        (500, Verdict.SERVER_FAULT),
        (599, Verdict.SERVER_TROUBLE),
    ],
)
def test_unknown_reasons_are_judged_by_status(status: int, verdict: Verdict) -> None:
    """A reason nobody knows yet is judged by its status."""
    assert judge(ApnsAnswer(status=status, reason="BrandNew")) is verdict


def test_unknown_reasons_keep_their_text() -> None:
    """The text of an unknown reason reaches the app."""
    decision = decide_first(ApnsAnswer(status=418, reason="BrandNew"))
    assert decision == Finish(outcome=Outcome.REFUSED, status=418, reason="BrandNew")


@given(answers, lanes, st.integers(0, 60), st.none() | st.floats(-10, 1e6), dice)
def test_decisions_are_total_and_bounded(
    answer: ApnsAnswer, lane: Lane, attempts: int, time_left_s: float | None, dice: float
) -> None:
    """No answer leads to a negative delay, a retry beyond expiry, or more attempts than the rule allows."""
    decision = decide(answer, given_that(lane=lane, attempts=attempts, time_left_s=time_left_s, dice=dice))
    if isinstance(decision, Retry):
        rules = rules_of(judge(answer))
        assert isinstance(rules, RetryRules)
        rule = rules.of(lane)
        assert decision.delay_s >= max(rule.first_delay_s, answer.retry_after_s or 0)
        assert rule.max_attempts is None or decision.attempts < rule.max_attempts
        assert time_left_s is None or (0 if decision.at_once else decision.delay_s) < time_left_s


@given(st.booleans(), lanes, st.integers(0, 60), st.floats(0, 1e4), st.none() | st.floats(-10, 1e6), dice)
def test_silence_is_bounded(  # noqa: PLR0917  drawn by position
    maybe_sent: bool,  # noqa: FBT001
    lane: Lane,
    attempts: int,
    lasted_s: float,
    time_left_s: float | None,
    dice: float,
) -> None:
    """Silence uses up attempts only when the push may have been sent."""
    given = given_that(lane=lane, attempts=attempts, lasted_s=lasted_s, time_left_s=time_left_s, dice=dice)
    decision = decide_silence("deadline", given, maybe_sent=maybe_sent)
    if isinstance(decision, Retry):
        rule = (SILENCE_RULES if maybe_sent else NOT_SENT_RULES).of(lane)
        assert decision.attempts == attempts + maybe_sent
        assert rule.first_delay_s <= decision.delay_s <= 1.25 * rule.max_delay_s


@pytest.mark.parametrize(("lasted_s", "delay_s"), [(0, 3), (2, 3), (10, 10), (59, 59), (3600, 60)])
def test_waiting_grows_with_the_trouble(lasted_s: float, delay_s: float) -> None:
    """What could not be sent waits as long as that has been so, from 3 s to a minute, and uses no attempt."""
    decision = decide_silence("cannot connect", given_that(lasted_s=lasted_s), maybe_sent=False)
    assert decision == Retry(delay_s=delay_s, attempts=0, reason="cannot connect", at_once=True)


@pytest.mark.parametrize(
    ("lane", "maybe_sent", "attempts", "is_second", "at_once"),
    [
        (Lane.ALERT, False, 0, False, True),
        (Lane.ALERT, False, 3, False, True),
        (Lane.ALERT, False, 0, True, False),
        (Lane.ALERT, True, 0, False, False),
        (Lane.VOIP, True, 0, False, True),
        (Lane.VOIP, True, 1, False, False),
        (Lane.VOIP, False, 2, False, True),
    ],
)
def test_what_is_tried_again_at_once(
    lane: Lane, *, maybe_sent: bool, attempts: int, is_second: bool, at_once: bool
) -> None:
    """What certainly was not sent has a second try per claim; what may have been sent only if it is a call's first."""
    given = given_that(lane=lane, attempts=attempts, is_second=is_second)
    decision = decide_silence("connection lost", given, maybe_sent=maybe_sent)
    assert isinstance(decision, Retry)
    assert decision.at_once is at_once


def test_holding_back_waits_at_least_as_long_as_told() -> None:
    """What is held back until a moment is not looked at before, whatever the scale."""
    assert wait("closed", given_that(scale=0.01), least_s=40.0) == Retry(delay_s=40.0, attempts=0, reason="closed")
    assert wait("closed", given_that(lane=Lane.VOIP, time_left_s=30.0), least_s=40.0) == Finish(
        outcome=Outcome.EXPIRED, reason="closed"
    )


def test_retry_after_is_honoured() -> None:
    """A Retry-After longer than our own delay wins."""
    decision = decide_first(ApnsAnswer(status=503, reason="ServiceUnavailable", retry_after_s=5000))
    assert isinstance(decision, Retry)
    assert decision.delay_s == 5000


def test_the_last_attempt_is_a_dead_letter() -> None:
    """After the last attempt a notification is a dead letter with Apple's last reason."""
    answer = ApnsAnswer(status=503, reason="ServiceUnavailable")
    decision = decide(answer, given_that(attempts=5))
    assert decision == Finish(outcome=Outcome.DEAD_LETTERED, status=503, reason="ServiceUnavailable")


def test_no_retry_beyond_expiry() -> None:
    """A notification whose next try would come too late has expired."""
    answer = ApnsAnswer(status=503, reason="ServiceUnavailable")
    decision = decide(answer, given_that(time_left_s=30))
    assert decision == Finish(outcome=Outcome.EXPIRED, status=503, reason="ServiceUnavailable")
