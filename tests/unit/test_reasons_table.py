"""One row per reason of Apple's: what it means, when it is tried again, how it ends and what it stops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from dispatcher.feedback import Outcome
from dispatcher.pausing import Scope
from dispatcher.push_types import Environment, Lane
from tests.worker_parts import APP
from workers.reasons import REASONS, Verdict, judge
from workers.retry import Circumstances, Finish, Retry, decide
from workers.safeguards import Pass, Safeguards
from workers.transport.port import ApnsAnswer

KEY = Scope(key_id=APP.key_id)
MINUTE = 60.0
#: More tries than any rule allows.
MANY = 20


@dataclass(frozen=True, kw_only=True)
class Life:
    """What becomes of a notification that gets the same answer again and again and has all the time in the world.

    Attributes:
        delays_s: Before each further try; of one that waits without limit only the first.
        outcome: How it ends; None when it never does.
        at_once: Whether the second try is made at once instead.
    """

    delays_s: tuple[float, ...] = ()
    outcome: Outcome | None = None
    at_once: bool = False


def doubling(first_s: float, most_s: float, tries: int) -> tuple[float, ...]:
    """Return that many delays, each twice the one before."""
    return tuple(min(most_s, first_s * 2**number) for number in range(tries))


REFUSED = (Life(outcome=Outcome.REFUSED),) * 2
GONE = (Life(outcome=Outcome.UNREGISTERED),) * 2
STOPPED = Life(delays_s=(2.0,)), Life(delays_s=(1.0,))
LEAVING = (
    Life(delays_s=doubling(1.0, MINUTE, 9), outcome=Outcome.DEAD_LETTERED),
    Life(delays_s=doubling(0.5, 4.0, 9), outcome=Outcome.DEAD_LETTERED, at_once=True),
)
FAILING = (
    Life(delays_s=doubling(15 * MINUTE, 60 * MINUTE, 5), outcome=Outcome.DEAD_LETTERED),
    Life(delays_s=(2.0,), outcome=Outcome.DEAD_LETTERED),
)
FAULTY = FAILING[0], replace(FAILING[1], at_once=True)
SLOWED = (
    Life(delays_s=doubling(MINUTE, 16 * MINUTE, 5), outcome=Outcome.DEAD_LETTERED),
    Life(delays_s=(2.0, 4.0, 8.0), outcome=Outcome.DEAD_LETTERED),
)
STALE = Life(delays_s=(5.0,)), Life(delays_s=(1.0,))
CHURNED = Life(delays_s=(5 * MINUTE,)), Life(delays_s=(1.0,))

#: reason, status, verdict, (an ordinary push, a call), stops ("key", "lane", "rest" of the key, "stale" if repeated)
TABLE = [
    ("BadCollapseId", 400, Verdict.REFUSED, REFUSED, ""),
    ("BadDeviceToken", 400, Verdict.WRONG_DEVICE, REFUSED, ""),
    ("BadExpirationDate", 400, Verdict.REFUSED, REFUSED, ""),
    ("BadMessageId", 400, Verdict.REFUSED, REFUSED, ""),
    ("BadPriority", 400, Verdict.REFUSED, REFUSED, ""),
    ("BadTopic", 400, Verdict.TOPIC_REFUSED, STOPPED, "lane"),
    ("DeviceTokenNotForTopic", 400, Verdict.WRONG_DEVICE, REFUSED, ""),
    ("DuplicateHeaders", 400, Verdict.REFUSED, REFUSED, ""),
    ("IdleTimeout", 400, Verdict.SERVER_LEAVING, LEAVING, ""),
    ("InvalidPushType", 400, Verdict.REFUSED, REFUSED, ""),
    ("MissingDeviceToken", 400, Verdict.REFUSED, REFUSED, ""),
    ("MissingTopic", 400, Verdict.TOPIC_REFUSED, STOPPED, "lane"),
    ("PayloadEmpty", 400, Verdict.REFUSED, REFUSED, ""),
    ("TopicDisallowed", 400, Verdict.TOPIC_REFUSED, STOPPED, "lane"),
    ("BadCertificate", 403, Verdict.KEY_REFUSED, STOPPED, "key"),
    ("BadCertificateEnvironment", 403, Verdict.KEY_REFUSED, STOPPED, "key"),
    ("ExpiredProviderToken", 403, Verdict.STALE_CREDENTIAL, STALE, "stale"),
    ("Forbidden", 403, Verdict.KEY_REFUSED, STOPPED, "key"),
    ("InvalidProviderToken", 403, Verdict.KEY_REFUSED, STOPPED, "key"),
    ("MissingProviderToken", 403, Verdict.KEY_REFUSED, STOPPED, "key"),
    ("UnrelatedKeyIdInToken", 403, Verdict.STALE_CREDENTIAL, STALE, "stale"),
    ("BadEnvironmentKeyInToken", 403, Verdict.TOPIC_REFUSED, STOPPED, "lane"),
    ("BadEnvironmentKeyIdInToken", 403, Verdict.TOPIC_REFUSED, STOPPED, "lane"),
    ("BadPath", 404, Verdict.REFUSED, REFUSED, ""),
    ("MethodNotAllowed", 405, Verdict.REFUSED, REFUSED, ""),
    ("ExpiredToken", 410, Verdict.DEVICE_GONE, GONE, ""),
    ("Unregistered", 410, Verdict.DEVICE_GONE, GONE, ""),
    ("PayloadTooLarge", 413, Verdict.REFUSED, REFUSED, ""),
    ("TooManyProviderTokenUpdates", 429, Verdict.TOKEN_CHURN, CHURNED, "rest"),
    ("TooManyRequests", 429, Verdict.SLOW_DOWN, SLOWED, ""),
    ("InternalServerError", 500, Verdict.SERVER_FAULT, FAULTY, ""),
    ("ServiceUnavailable", 503, Verdict.SERVER_TROUBLE, FAILING, ""),
    ("Shutdown", 503, Verdict.SERVER_LEAVING, LEAVING, ""),
]
ROWS = pytest.mark.parametrize(
    ("reason", "status", "verdict", "lives", "stops"), TABLE, ids=[str(row[0]) for row in TABLE]
)


def live(answer: ApnsAnswer, lane: Lane) -> Life:
    """Return the life of a notification that gets this answer to every try."""
    delays: list[float] = []
    attempts, at_once = 0, False
    for _ in range(MANY):
        given = Circumstances(lane=lane, attempts=attempts, time_left_s=None, scale=1.0, dice=0.0)
        match decide(answer, given):
            case Finish(outcome=outcome, status=status, reason=reason):
                assert (status, reason) == (answer.status, answer.reason)
                return Life(delays_s=tuple(delays), outcome=outcome, at_once=at_once)
            case Retry() as retry:
                delays.append(retry.delay_s)
                at_once = at_once or retry.at_once
                if retry.attempts == attempts:
                    break
                attempts = retry.attempts
    return Life(delays_s=tuple(delays), at_once=at_once)


@ROWS
def test_what_becomes_of_a_notification(
    reason: str, status: int, verdict: Verdict, lives: tuple[Life, Life], stops: str
) -> None:
    """Each reason has its verdict, its tries and its end, for ordinary pushes and for calls."""
    del stops
    answer = ApnsAnswer(status=status, reason=reason)
    assert judge(answer) is verdict
    assert (live(answer, Lane.ALERT), live(answer, Lane.VOIP)) == lives


@ROWS
def test_what_is_stopped(reason: str, status: int, verdict: Verdict, lives: tuple[Life, Life], stops: str) -> None:
    """A key or an app's lane is stopped by exactly those reasons that would meet others, too; a rest by one."""
    del lives
    safeguards = Safeguards()
    watch = safeguards.watch(APP, Lane.ALERT, Environment.PRODUCTION)
    answer = ApnsAnswer(status=status, reason=reason)
    troubles = [
        watch.note(answer, verdict, way=Pass.FREE, now=1000.0 + after_s, dice=lambda: 0.0)
        for after_s in (0.0, 1.0, 60.0)
    ]
    scopes = {"key": KEY, "lane": Scope(app=APP.bundle_id, lane=Lane.ALERT), "rest": KEY}
    first, soon, later = [trouble and (trouble.scope, trouble.reason) for trouble in troubles]
    assert (first, soon) == ((scopes[stops], reason) if stops in scopes else None, None)
    assert later == ((KEY, reason) if stops == "stale" else None)
    assert [trouble.ends_by_itself for trouble in troubles if trouble] == [stops == "rest"] * (stops != "")
    assert watch.is_open(1060.0) is not bool(stops)


def test_table_is_whole() -> None:
    """The tests above speak of every reason the product knows, and of no other."""
    assert {row[0] for row in TABLE} == set(REASONS)
