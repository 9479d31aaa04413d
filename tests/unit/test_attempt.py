"""When a notification must not be sent any more, and what is asked at the moment it would leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.errors import SigningError, TransportError
from dispatcher.feedback import Outcome
from dispatcher.push_types import Environment, Lane
from dispatcher.record import Record
from tests.worker_parts import APP, NothingPaused
from workers.attempt import UNKNOWN_APP_DELAY_S, make_attempt
from workers.lease import LANE_TIMES, Lease
from workers.retry import Decision, Finish, Release, Retry
from workers.sending import Attempt, Sending
from workers.transport.port import ApnsAnswer, GateClosedError, PushRequest

ACCEPTED_AT = 1_800_000_000.0


def make_try(*, attempts: int = 0, push_type: str = "alert", app: str = APP.bundle_id, **changes: Any) -> Attempt:
    """Return an attempt of a notification accepted at `ACCEPTED_AT`, under a fresh lease."""
    notification = Record(
        app=app,
        environment=Environment.PRODUCTION,
        push_type=push_type,
        device_tokens=("ab",),
        payload=b"{}",
        priority=10,
        **changes,
    )
    lease = Lease(LANE_TIMES[Lane.ALERT], lambda: 0.0)
    return Attempt(record=notification, index=0, apns_id="id", accepted_at=ACCEPTED_AT, attempts=attempts, lease=lease)


class Gate:
    """A transport that does one thing when it has asked whether the push may leave.

    Attributes:
        reply: What it returns or raises.
        requests: What it was given.
    """

    def __init__(self, reply: ApnsAnswer | Exception) -> None:
        self.reply = reply
        self.requests: list[PushRequest] = []

    async def send(self, request: PushRequest) -> ApnsAnswer:
        """Reply, if the push may leave.

        Raises:
            GateClosedError: It may not.
        """
        self.requests.append(request)
        await asyncio.sleep(0)
        if not request.may_open():
            raise GateClosedError
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def close(self) -> None:
        """Forget what it was given."""
        self.requests.clear()


def decide(
    attempt: Attempt,
    reply: ApnsAnswer | Exception = ApnsAnswer(status=200),  # noqa: B008  a frozen value
    *,
    after_s: float = 0.0,
    has_stopped: Callable[[], bool] = lambda: False,
) -> Decision:
    """Return what becomes of an attempt made so long after acceptance."""
    sending = Sending(
        transport=Gate(reply),
        apps={APP.bundle_id: APP},
        now=lambda: ACCEPTED_AT + after_s,
        dice=lambda: 0.0,
        retry_scale=1.0,
        has_stopped=has_stopped,
        pauses=NothingPaused(),
    )
    return asyncio.run(make_attempt(attempt, sending))


@pytest.mark.parametrize(
    ("expires_in", "expiration", "expires_at"),
    [
        (None, None, None),
        (None, 0, None),
        (30.0, None, ACCEPTED_AT + 30),
        (30.0, 0, ACCEPTED_AT + 30),
        (None, int(ACCEPTED_AT) + 60, ACCEPTED_AT + 60),
        (30.0, int(ACCEPTED_AT) + 60, ACCEPTED_AT + 30),
        (90.0, int(ACCEPTED_AT) + 60, ACCEPTED_AT + 60),
    ],
)
def test_the_earlier_end_counts(expires_in: float | None, expiration: int | None, expires_at: float | None) -> None:
    """Our own limit and Apple's both end a notification; 0 only forbids storing."""
    assert make_try(expires_in=expires_in, expiration=expiration).expires_at == expires_at


@pytest.mark.parametrize(("after_s", "outcome"), [(29.9, Outcome.DELIVERED), (30.0, Outcome.EXPIRED)])
def test_expiry_is_judged_when_the_stream_opens(after_s: float, outcome: Outcome) -> None:
    """To the moment of its end a notification may leave, and then never again."""
    decision = decide(make_try(expires_in=30.0), after_s=after_s)
    assert isinstance(decision, Finish)
    assert decision.outcome is outcome


def test_a_stopped_process_releases() -> None:
    """A process that has stopped sends nothing, and uses no attempt."""
    assert decide(make_try(), has_stopped=lambda: True) == Release()


def test_expired_wins_over_stopped() -> None:
    """What is over anyway is not handed to anybody else."""
    decision = decide(make_try(expires_in=1.0), after_s=2.0, has_stopped=lambda: True)
    assert isinstance(decision, Finish)
    assert decision.outcome is Outcome.EXPIRED


def test_a_lost_lease_releases() -> None:
    """Under a lease that was lost nothing is sent, and no attempt is used."""
    attempt = make_try()
    attempt.lease.lose()
    assert decide(attempt) == Release()


def test_an_unknown_app_waits() -> None:
    """An app this worker does not know is tried again a minute later, with as many attempts left."""
    decision = decide(make_try(app="com.example.new", attempts=3))
    assert isinstance(decision, Retry)
    assert (decision.delay_s, decision.attempts) == (UNKNOWN_APP_DELAY_S, 3)


@pytest.mark.parametrize(
    ("reply", "attempts"),
    [
        (ApnsAnswer(status=503, reason="ServiceUnavailable"), 3),
        (TransportError("no answer in time", maybe_sent=True), 3),
        (TransportError("cannot connect", maybe_sent=False), 2),
        (SigningError("no such key"), 2),
    ],
)
def test_only_what_may_have_left_uses_an_attempt(reply: ApnsAnswer | Exception, attempts: int) -> None:
    """An attempt is used when APNs answered, or may have; not when the push certainly never left."""
    decision = decide(make_try(attempts=2), reply)
    assert isinstance(decision, Retry)
    assert decision.attempts == attempts


def test_silence_beyond_expiry_is_expired() -> None:
    """Without an answer and without time for another try a notification has expired, for the reason of the silence."""
    decision = decide(make_try(expires_in=3.0), TransportError("no answer in time", maybe_sent=True), after_s=1.0)
    assert decision == Finish(outcome=Outcome.EXPIRED, reason="no answer in time", maybe_sent=True)


@pytest.mark.parametrize(
    ("push_type", "after_s", "deadline_s"),
    [("voip", 0.0, 5.0), ("voip", 27.0, 3.0), ("voip", 29.9, 1.0), ("alert", 29.9, 10.0)],
)
def test_a_call_waits_for_its_answer_while_it_lasts(push_type: str, after_s: float, deadline_s: float) -> None:
    """The answer to a call is awaited no longer than the call lasts, but a moment at least; others have ten seconds."""
    gate = Gate(ApnsAnswer(status=200))
    sending = Sending(
        transport=gate,
        apps={APP.bundle_id: APP},
        now=lambda: ACCEPTED_AT + after_s,
        dice=lambda: 0.0,
        retry_scale=1.0,
        has_stopped=lambda: False,
        pauses=NothingPaused(),
    )
    asyncio.run(make_attempt(make_try(push_type=push_type, expires_in=30.0), sending))
    assert gate.requests[0].deadline_s == pytest.approx(deadline_s)
