"""One attempt to send one notification, from its last checks to a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from dispatcher.errors import SigningError, TransportError
from dispatcher.feedback import Outcome
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.settings import App
from workers import retry
from workers.lease import LANE_TIMES, SHORTEST_DEADLINE_S, LaneTimes, Lease
from workers.retry import Decision, Finish, Park, Release, Retry
from workers.transport.port import GateClosedError, PushRequest, Transport

log = structlog.get_logger()

#: An app that this worker does not know may be known after the next deployment.
UNKNOWN_APP_DELAY_S: Final = 60.0


class Pauses(Protocol):
    """What must not be sent at present, because it would only do harm."""

    def is_paused(self, app: str, lane: Lane) -> bool:
        """Tell whether an app's notifications of a lane are parked."""
        ...

    async def take_probe(self, app: str, lane: Lane) -> bool:
        """Ask whether one notification may be sent all the same, to see whether the trouble is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What every attempt of a process shares.

    Attributes:
        transport: The way to APNs.
        apps: The apps this worker knows, by bundle id.
        now: The state server's clock, Unix seconds.
        dice: Random numbers from 0 up to 1.
        retry_scale: Factor on every delay.
        has_stopped: Whether this process opens no stream any more, because it ends.
        pauses: What must not be sent at present.
    """

    transport: Transport
    apps: Mapping[str, App]
    now: Callable[[], float]
    dice: Callable[[], float]
    retry_scale: float
    has_stopped: Callable[[], bool]
    pauses: Pauses


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One notification, ready to be sent.

    Attributes:
        record: The record it is part of.
        index: Its place there.
        apns_id: Its id.
        accepted_at: When it was accepted, Unix seconds.
        attempts: Attempts used before.
        lease: The claim it is sent under.
        is_probe: It is sent though its app or key is paused.
    """

    record: Record
    index: int
    apns_id: str
    accepted_at: float
    attempts: int
    lease: Lease
    is_probe: bool = False

    @property
    def expires_at(self) -> float | None:
        """When it must not be sent any more, Unix seconds; None for never."""
        return self.record.expires_at(self.accepted_at)

    @property
    def lane(self) -> Lane:
        """The lane it is sent in."""
        return PUSH_TYPES[self.record.push_type].lane


async def make_attempt(attempt: Attempt, sending: Sending) -> Decision:
    """Send a notification if it still may be sent, and decide what becomes of it."""
    if _is_expired(attempt, sending.now()):
        return expired()
    if sending.pauses.is_paused(attempt.record.app, attempt.lane) and not attempt.is_probe:
        return Park()
    app = sending.apps.get(attempt.record.app)
    if app is None:
        return Retry(delay_s=UNKNOWN_APP_DELAY_S, attempts=attempt.attempts, reason="app not configured here")
    try:
        answer = await sending.transport.send(_request(attempt, app, sending))
    except GateClosedError:
        return expired() if _is_expired(attempt, sending.now()) else Release()
    except Exception as exc:  # noqa: BLE001  what it was is decided in one place
        return _decide_failure(attempt, sending, exc)
    return retry.decide(
        answer,
        attempts=attempt.attempts,
        time_left_s=_time_left_s(attempt, sending.now()),
        scale=sending.retry_scale,
        dice=sending.dice(),
    )


def _decide_failure(attempt: Attempt, sending: Sending, exc: Exception) -> Decision:
    match exc:
        case TransportError():
            return _silence(attempt, sending, exc.reason, maybe_sent=exc.maybe_sent)
        case SigningError():
            return _silence(attempt, sending, str(exc), maybe_sent=False)
        case _:
            # A mistake of ours: one notification that nobody can send must not hold up its batch for ever.
            log.error("attempt_failed", apns_id=attempt.apns_id, exc_info=exc)
            return _silence(attempt, sending, f"failed in the worker ({type(exc).__name__})", maybe_sent=True)


async def send_each(attempts: list[Attempt], note: Callable[[Attempt, Decision], None], sending: Sending) -> None:
    """Send all at once; the transport decides how many streams are open."""

    async def send_one(attempt: Attempt) -> None:
        note(attempt, await make_attempt(attempt, sending))

    async with asyncio.TaskGroup() as group:
        for attempt in attempts:
            group.create_task(send_one(attempt))


def _request(attempt: Attempt, app: App, sending: Sending) -> PushRequest:
    record = attempt.record
    push_type = PUSH_TYPES[record.push_type]

    def may_open() -> bool:
        is_over = sending.has_stopped() or _is_expired(attempt, sending.now())
        return not is_over and attempt.lease.may_open()

    return PushRequest(
        environment=record.environment,
        key_id=app.key_id,
        device_token=record.device_tokens[attempt.index],
        apns_id=attempt.apns_id,
        topic=push_type.topic(record.app),
        push_type=push_type.name,
        priority=record.priority,
        expiration=record.expiration,
        collapse_id=record.collapse_id,
        payload=record.payload,
        deadline_s=_deadline_s(LANE_TIMES[push_type.lane], _time_left_s(attempt, sending.now())),
        may_open=may_open,
    )


def _deadline_s(times: LaneTimes, time_left_s: float | None) -> float:
    if time_left_s is None or not times.ends_with_expiry:
        return times.deadline_s
    return min(times.deadline_s, max(SHORTEST_DEADLINE_S, time_left_s))


def _silence(attempt: Attempt, sending: Sending, reason: str, *, maybe_sent: bool) -> Decision:
    return retry.decide_silence(
        reason,
        maybe_sent=maybe_sent,
        attempts=attempt.attempts,
        time_left_s=_time_left_s(attempt, sending.now()),
        scale=sending.retry_scale,
        dice=sending.dice(),
    )


def _time_left_s(attempt: Attempt, now: float) -> float | None:
    expires_at = attempt.expires_at
    return None if expires_at is None else expires_at - now


def _is_expired(attempt: Attempt, now: float) -> bool:
    expires_at = attempt.expires_at
    return expires_at is not None and now >= expires_at


def expired() -> Finish:
    """Return the end of what must not be sent any more."""
    return Finish(outcome=Outcome.EXPIRED, reason="its time was over before it could be sent")
