"""Decide what becomes of a notification after an answer or silence.

Pure: time, the number of the attempt and the dice are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from dispatcher.feedback import Outcome
from workers.reasons import Verdict, judge
from workers.transport.port import ApnsAnswer

_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The notification has ended.

    Attributes:
        outcome: How.
        status: HTTP status, 0 without an answer.
        reason: Apple's reason, or ours.
        unregistered_at: Unix milliseconds, 0 when unknown.
        maybe_sent: No answer came, and Apple may have it all the same.
    """

    outcome: Outcome
    status: int = 0
    reason: str = ""
    unregistered_at: int = 0
    maybe_sent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The notification is tried again, never sooner than `delay_s` from now.

    Attributes:
        delay_s: Seconds to wait.
        attempts: Attempts used so far, the one just made included if it counts.
        reason: Why.
        maybe_sent: No answer came, and Apple may have it all the same.
    """

    delay_s: float
    attempts: int
    reason: str
    maybe_sent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Nothing was sent and nothing is noted: somebody takes it up where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Its app or key is paused: it waits, uses up no attempt, and goes on when the pause ends."""


Decision = Finish | Retry | Release | Park


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How often and how late to try again.

    Attributes:
        first_delay_s: Delay after the first attempt; doubles with each that counts.
        max_delay_s: Where doubling ends.
        max_attempts: Attempts after which it is a dead letter; None when waiting uses none up.
    """

    first_delay_s: float
    max_delay_s: float
    max_attempts: int | None


#: Apple: "retry after 15 minutes" for 500 and 503, "after a delay" for TooManyRequests.
RETRY_RULES: Final[Mapping[Verdict, RetryRule]] = {
    Verdict.SLOW_DOWN: RetryRule(first_delay_s=_MINUTE_S, max_delay_s=16 * _MINUTE_S, max_attempts=6),
    Verdict.SERVER_TROUBLE: RetryRule(first_delay_s=15 * _MINUTE_S, max_delay_s=60 * _MINUTE_S, max_attempts=6),
    Verdict.SERVER_LEAVING: RetryRule(first_delay_s=1.0, max_delay_s=_MINUTE_S, max_attempts=10),
    Verdict.STALE_CREDENTIAL: RetryRule(first_delay_s=5.0, max_delay_s=5.0, max_attempts=None),
    Verdict.TOKEN_CHURN: RetryRule(first_delay_s=5 * _MINUTE_S, max_delay_s=5 * _MINUTE_S, max_attempts=None),
    Verdict.CONFIGURATION: RetryRule(first_delay_s=5 * _MINUTE_S, max_delay_s=5 * _MINUTE_S, max_attempts=None),
}

#: No answer: the push may have been sent, or certainly was not.
SILENCE_RULE: Final = RetryRule(first_delay_s=5.0, max_delay_s=5 * _MINUTE_S, max_attempts=6)
NOT_SENT_RULE: Final = RetryRule(first_delay_s=3.0, max_delay_s=3.0, max_attempts=None)

_ENDS: Final[Mapping[Verdict, Outcome]] = {
    Verdict.ACCEPTED: Outcome.DELIVERED,
    Verdict.DEVICE_GONE: Outcome.UNREGISTERED,
    Verdict.WRONG_DEVICE: Outcome.REFUSED,
    Verdict.REFUSED: Outcome.REFUSED,
}


def decide(
    answer: ApnsAnswer, *, attempts: int, time_left_s: float | None, scale: float, dice: float
) -> Finish | Retry:
    """Return what becomes of a notification that APNs answered.

    Args:
        answer: What APNs said.
        attempts: Attempts that counted before this one.
        time_left_s: Seconds until the notification expires; None when it does not.
        scale: Factor on every delay; below 1 only in development.
        dice: 0 up to 1, adds up to a quarter of the delay, so that retries do not come together.
    """
    verdict = judge(answer)
    if outcome := _ENDS.get(verdict):
        return Finish(
            outcome=outcome, status=answer.status, reason=answer.reason, unregistered_at=answer.unregistered_at
        )
    rule = RETRY_RULES[verdict]
    reason = answer.reason or f"status {answer.status}"
    return _again(
        rule,
        reason,
        status=answer.status,
        retry_after_s=answer.retry_after_s,
        attempts=attempts,
        time_left_s=time_left_s,
        scale=scale,
        dice=dice,
    )


def decide_silence(
    reason: str, *, maybe_sent: bool, attempts: int, time_left_s: float | None, scale: float, dice: float
) -> Finish | Retry:
    """Return what becomes of a notification that got no answer."""
    rule = SILENCE_RULE if maybe_sent else NOT_SENT_RULE
    decision = _again(rule, reason, attempts=attempts, time_left_s=time_left_s, scale=scale, dice=dice)
    return replace(decision, maybe_sent=maybe_sent)


def _again(
    rule: RetryRule,
    reason: str,
    *,
    status: int = 0,
    retry_after_s: float | None = None,
    attempts: int,
    time_left_s: float | None,
    scale: float,
    dice: float,
) -> Finish | Retry:
    used = attempts + (rule.max_attempts is not None)
    if rule.max_attempts is not None and used >= rule.max_attempts:
        return Finish(outcome=Outcome.DEAD_LETTERED, status=status, reason=reason)
    delay_s = min(rule.max_delay_s, rule.first_delay_s * 2 ** min(attempts, 20))
    delay_s = scale * max(delay_s * (1 + dice / 4), retry_after_s or 0.0)
    if time_left_s is not None and delay_s >= time_left_s:
        return Finish(outcome=Outcome.EXPIRED, status=status, reason=reason)
    return Retry(delay_s=delay_s, attempts=used, reason=reason)
