"""Every reason of Apple's has a verdict, and every verdict a bounded consequence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.feedback import Outcome
from workers.reasons import REASONS, Verdict, judge
from workers.retry import NOT_SENT_RULE, RETRY_RULES, SILENCE_RULE, Finish, Retry, decide, decide_silence
from workers.transport.port import ApnsAnswer

#: Apple's table: reason, status, what becomes of the notification, seconds before the first retry.
TABLE = [
    ("BadCollapseId", 400, Outcome.REFUSED, None),
    ("BadDeviceToken", 400, Outcome.REFUSED, None),
    ("BadExpirationDate", 400, Outcome.REFUSED, None),
    ("BadMessageId", 400, Outcome.REFUSED, None),
    ("BadPriority", 400, Outcome.REFUSED, None),
    ("BadTopic", 400, None, 300),
    ("DeviceTokenNotForTopic", 400, Outcome.REFUSED, None),
    ("DuplicateHeaders", 400, Outcome.REFUSED, None),
    ("IdleTimeout", 400, None, 1),
    ("InvalidPushType", 400, Outcome.REFUSED, None),
    ("MissingDeviceToken", 400, Outcome.REFUSED, None),
    ("MissingTopic", 400, None, 300),
    ("PayloadEmpty", 400, Outcome.REFUSED, None),
    ("TopicDisallowed", 400, None, 300),
    ("BadCertificate", 403, None, 300),
    ("BadCertificateEnvironment", 403, None, 300),
    ("ExpiredProviderToken", 403, None, 5),
    ("Forbidden", 403, None, 300),
    ("InvalidProviderToken", 403, None, 300),
    ("MissingProviderToken", 403, None, 300),
    ("UnrelatedKeyIdInToken", 403, None, 5),
    ("BadEnvironmentKeyInToken", 403, None, 300),
    ("BadEnvironmentKeyIdInToken", 403, None, 300),
    ("BadPath", 404, Outcome.REFUSED, None),
    ("MethodNotAllowed", 405, Outcome.REFUSED, None),
    ("ExpiredToken", 410, Outcome.UNREGISTERED, None),
    ("Unregistered", 410, Outcome.UNREGISTERED, None),
    ("PayloadTooLarge", 413, Outcome.REFUSED, None),
    ("TooManyProviderTokenUpdates", 429, None, 300),
    ("TooManyRequests", 429, None, 60),
    ("InternalServerError", 500, None, 900),
    ("ServiceUnavailable", 503, None, 900),
    ("Shutdown", 503, None, 1),
]

answers = st.builds(
    ApnsAnswer,
    status=st.integers(100, 599),
    reason=st.sampled_from(["", "SomethingNew", *REASONS]),
    retry_after_s=st.none() | st.floats(0, 1e5),
)
dice = st.floats(0, 1, exclude_max=True)


def decide_first(answer: ApnsAnswer) -> Finish | Retry:
    """Decide on a first attempt without deadline."""
    return decide(answer, attempts=0, time_left_s=None, scale=1.0, dice=0.0)


@pytest.mark.parametrize(("reason", "status", "outcome", "delay_s"), TABLE)
def test_table_of_reasons(reason: str, status: int, outcome: Outcome | None, delay_s: float | None) -> None:
    """Each reason of Apple's table ends a notification or has it tried again after its time."""
    decision = decide_first(ApnsAnswer(status=status, reason=reason))
    match decision:
        case Finish():
            assert (decision.outcome, decision.status, decision.reason) == (outcome, status, reason)
        case Retry():
            assert (outcome, decision.delay_s) == (None, delay_s)


def test_table_is_whole() -> None:
    """The test above speaks of every reason the product knows, and of no other."""
    assert {row[0] for row in TABLE} == set(REASONS)


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
        (403, Verdict.CONFIGURATION),
        (404, Verdict.REFUSED),
        (410, Verdict.DEVICE_GONE),
        (429, Verdict.SLOW_DOWN),
        (500, Verdict.SERVER_TROUBLE),
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


@given(answers, st.integers(0, 60), st.none() | st.floats(-10, 1e6), dice)
def test_decisions_are_total_and_bounded(
    answer: ApnsAnswer, attempts: int, time_left_s: float | None, dice: float
) -> None:
    """No answer leads to a negative delay, a retry beyond expiry, or more attempts than the rule allows."""
    decision = decide(answer, attempts=attempts, time_left_s=time_left_s, scale=1.0, dice=dice)
    if isinstance(decision, Retry):
        rule = RETRY_RULES[judge(answer)]
        assert decision.delay_s >= max(rule.first_delay_s, answer.retry_after_s or 0)
        assert rule.max_attempts is None or decision.attempts < rule.max_attempts
        assert time_left_s is None or decision.delay_s < time_left_s


@given(st.booleans(), st.integers(0, 60), st.none() | st.floats(-10, 1e6), dice)
def test_silence_is_bounded(maybe_sent: bool, attempts: int, time_left_s: float | None, dice: float) -> None:  # noqa: FBT001
    """Silence uses up attempts only when the push may have been sent."""
    decision = decide_silence(
        "deadline", maybe_sent=maybe_sent, attempts=attempts, time_left_s=time_left_s, scale=1.0, dice=dice
    )
    if isinstance(decision, Retry):
        rule = SILENCE_RULE if maybe_sent else NOT_SENT_RULE
        assert decision.attempts == attempts + maybe_sent
        assert rule.first_delay_s <= decision.delay_s <= 1.25 * rule.max_delay_s


def test_retry_after_is_honoured() -> None:
    """A Retry-After longer than our own delay wins."""
    decision = decide_first(ApnsAnswer(status=503, reason="ServiceUnavailable", retry_after_s=5000))
    assert isinstance(decision, Retry)
    assert decision.delay_s == 5000


def test_the_last_attempt_is_a_dead_letter() -> None:
    """After the last attempt a notification is a dead letter with Apple's last reason."""
    answer = ApnsAnswer(status=503, reason="ServiceUnavailable")
    decision = decide(answer, attempts=5, time_left_s=None, scale=1.0, dice=0.0)
    assert decision == Finish(outcome=Outcome.DEAD_LETTERED, status=503, reason="ServiceUnavailable")


def test_no_retry_beyond_expiry() -> None:
    """A notification whose next try would come too late has expired."""
    answer = ApnsAnswer(status=503, reason="ServiceUnavailable")
    decision = decide(answer, attempts=0, time_left_s=30, scale=1.0, dice=0.0)
    assert decision == Finish(outcome=Outcome.EXPIRED, status=503, reason="ServiceUnavailable")
