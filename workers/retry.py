"""Decide what becomes of a notification after an answer or silence.

Pure: time, the number of the attempt and the dice are arguments. Waiting that is not failing uses up no attempt; since
attempts do not count it, its delay grows with how long the cause has lasted.

Source: "Handling notification responses from APNs": 15 minutes after 500 and 503, later after TooManyRequests. A call
has rung long before that, so calls have rules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from workers.lease import LANE_TIMES
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
        at_once: Try a second time before it is given back to wait.
        avoid: Number of the connection that the second try does not use again; None for none.
        maybe_sent: No answer came, and Apple may have it all the same.
    """

    delay_s: float
    attempts: int
    reason: str
    at_once: bool = False
    avoid: int | None = None
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
        first_delay_s: Delay after the first attempt; doubles with each that counts. Where none counts it grows with
            the time for which the cause has lasted.
        max_delay_s: Where growing ends.
        max_attempts: Attempts after which it is a dead letter; None when waiting uses none up.
        at_once: The second try is made before anything else, over another connection where there can be one.
    """

    first_delay_s: float
    max_delay_s: float
    max_attempts: int | None
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """The rules of one case.

    Attributes:
        ordinary: For everything that may be late.
        call: For what rings.
    """

    ordinary: RetryRule
    call: RetryRule

    def of(self, lane: Lane) -> RetryRule:
        """Return the rule for a lane's pushes."""
        return self.call if LANE_TIMES[lane].is_call else self.ordinary


_WAIT: Final = RetryRule(first_delay_s=2.0, max_delay_s=30.0, max_attempts=None)
_CALL_WAIT: Final = RetryRule(first_delay_s=1.0, max_delay_s=5.0, max_attempts=None)
_SERVER_RULES: Final = RetryRules(
    ordinary=RetryRule(first_delay_s=15 * _MINUTE_S, max_delay_s=60 * _MINUTE_S, max_attempts=6),
    call=RetryRule(first_delay_s=2.0, max_delay_s=2.0, max_attempts=2),
)
#: A fault is often the connection's own and repeats there: a call makes its one more try at once, over another.
_FAULT_RULES: Final = replace(_SERVER_RULES, call=replace(_SERVER_RULES.call, at_once=True))
_STOP_RULES: Final = RetryRules(ordinary=_WAIT, call=_CALL_WAIT)

#: No answer: the push may have been sent, or certainly was not.
SILENCE_RULES: Final = RetryRules(
    ordinary=RetryRule(first_delay_s=5.0, max_delay_s=5 * _MINUTE_S, max_attempts=6),
    call=RetryRule(first_delay_s=0.5, max_delay_s=4.0, max_attempts=6, at_once=True),
)
NOT_SENT_RULES: Final = RetryRules(
    ordinary=RetryRule(first_delay_s=3.0, max_delay_s=_MINUTE_S, max_attempts=None, at_once=True),
    call=RetryRule(first_delay_s=0.5, max_delay_s=4.0, max_attempts=None, at_once=True),
)


def rules_of(verdict: Verdict) -> RetryRules | Outcome:  # noqa: C901, PLR0911  a table, as a match so that it is whole
    """Return how a verdict is tried again, or how it ends; one that is left out here is a type error."""
    match verdict:
        case Verdict.ACCEPTED:
            return Outcome.DELIVERED
        case Verdict.DEVICE_GONE:
            return Outcome.UNREGISTERED
        case Verdict.WRONG_DEVICE | Verdict.REFUSED:
            return Outcome.REFUSED
        case Verdict.SLOW_DOWN:
            return RetryRules(
                ordinary=RetryRule(first_delay_s=_MINUTE_S, max_delay_s=16 * _MINUTE_S, max_attempts=6),
                call=RetryRule(first_delay_s=2.0, max_delay_s=8.0, max_attempts=4),
            )
        case Verdict.SERVER_TROUBLE:
            return _SERVER_RULES
        case Verdict.SERVER_FAULT:
            return _FAULT_RULES
        case Verdict.SERVER_LEAVING:
            return RetryRules(
                ordinary=RetryRule(first_delay_s=1.0, max_delay_s=_MINUTE_S, max_attempts=10),
                call=RetryRule(first_delay_s=0.5, max_delay_s=4.0, max_attempts=10, at_once=True),
            )
        case Verdict.STALE_CREDENTIAL:
            return RetryRules(
                ordinary=RetryRule(first_delay_s=5.0, max_delay_s=5 * _MINUTE_S, max_attempts=None), call=_CALL_WAIT
            )
        case Verdict.TOKEN_CHURN:
            return RetryRules(
                ordinary=RetryRule(first_delay_s=5 * _MINUTE_S, max_delay_s=5 * _MINUTE_S, max_attempts=None),
                call=_CALL_WAIT,
            )
        case Verdict.KEY_REFUSED | Verdict.TOPIC_REFUSED:
            return _STOP_RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a decision depends on besides the answer.

    Attributes:
        lane: The lane it is sent in.
        attempts: Attempts that counted before this one.
        time_left_s: Seconds until the notification expires; None when it does not.
        lasted_s: For how long this process has seen the cause, in seconds; 0 when it is new.
        scale: Factor on every delay; below 1 only in development.
        dice: 0 up to 1, adds up to a quarter of the delay, so that retries do not come together.
        is_second: The first try was made a moment ago, so another one is not made at once.
        carried_by: Number of the connection that it went over; None if it did not.
    """

    lane: Lane
    attempts: int
    time_left_s: float | None
    lasted_s: float = 0.0
    scale: float
    dice: float
    is_second: bool = False
    carried_by: int | None = None


def ending(answer: ApnsAnswer, verdict: Verdict) -> Finish | None:
    """Return how a notification ended with its answer, if it did."""
    rules = rules_of(verdict)
    return _finish(rules, answer) if isinstance(rules, Outcome) else None


def decide(answer: ApnsAnswer, given: Circumstances) -> Finish | Retry:
    """Return what becomes of a notification that APNs answered."""
    rules = rules_of(judge(answer))
    if isinstance(rules, Outcome):
        return _finish(rules, answer)
    reason = answer.reason or f"status {answer.status}"
    return _again(rules.of(given.lane), reason, given, status=answer.status, retry_after_s=answer.retry_after_s)


def decide_silence(reason: str, given: Circumstances, *, maybe_sent: bool) -> Finish | Retry:
    """Return what becomes of a notification that got no answer."""
    rules = SILENCE_RULES if maybe_sent else NOT_SENT_RULES
    return replace(_again(rules.of(given.lane), reason, given), maybe_sent=maybe_sent)


def wait(reason: str, given: Circumstances, *, least_s: float = 0.0) -> Finish | Retry:
    """Return what becomes of a notification that is held back for a while, without an attempt.

    Args:
        least_s: How long at least, in seconds that are not scaled.
    """
    return _again(_STOP_RULES.of(given.lane), reason, given, least_s=least_s)


def _finish(outcome: Outcome, answer: ApnsAnswer) -> Finish:
    return Finish(outcome=outcome, status=answer.status, reason=answer.reason, unregistered_at=answer.unregistered_at)


def _again(
    rule: RetryRule,
    reason: str,
    given: Circumstances,
    *,
    status: int = 0,
    retry_after_s: float | None = None,
    least_s: float = 0.0,
) -> Finish | Retry:
    is_counted = rule.max_attempts is not None
    used = given.attempts + is_counted
    if rule.max_attempts is not None and used >= rule.max_attempts:
        return Finish(outcome=Outcome.DEAD_LETTERED, status=status, reason=reason)
    grown_s = rule.first_delay_s * 2 ** min(given.attempts, 20) if is_counted else given.lasted_s / given.scale
    delay_s = min(rule.max_delay_s, max(rule.first_delay_s, grown_s)) * (1 + given.dice / 4)
    delay_s = max(given.scale * max(delay_s, retry_after_s or 0.0), least_s)
    at_once = rule.at_once and not given.is_second and (not is_counted or given.attempts == 0)
    if given.time_left_s is not None and (0.0 if at_once else delay_s) >= given.time_left_s:
        return Finish(outcome=Outcome.EXPIRED, status=status, reason=reason)
    avoid = given.carried_by if at_once else None
    return Retry(delay_s=delay_s, attempts=used, reason=reason, at_once=at_once, avoid=avoid)
