"""One attempt to send one notification, from its last checks to a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from dispatcher.errors import SigningError, TransportError
from dispatcher.feedback import Outcome
from dispatcher.push_types import PUSH_TYPES
from dispatcher.settings import App
from workers import retry
from workers.lease import LANE_TIMES, SHORTEST_DEADLINE_S, LaneTimes
from workers.reasons import SLOWING, STOPPING, SUSPICIOUS, judge
from workers.retry import Circumstances, Decision, Finish, Park, Release, Retry
from workers.safeguards import DEVICE_SLOWED, Hold, Pass, Watch
from workers.sending import Attempt, Sending
from workers.transport.port import ApnsAnswer, GateClosedError, PushRequest

log = structlog.get_logger()

#: An app that this worker does not know may be known after the next deployment.
UNKNOWN_APP_DELAY_S: Final = 60.0

_LEASE_MARGIN_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.05


async def make_attempt(attempt: Attempt, sending: Sending) -> Decision:
    """Send a notification if it still may be sent, and decide what becomes of it."""
    decision = await _try(attempt, sending)
    if isinstance(decision, Retry) and decision.at_once:
        return await _try(replace(attempt, attempts=decision.attempts), sending, first=decision)
    return decision


async def _try(attempt: Attempt, sending: Sending, *, first: Retry | None = None) -> Decision:
    app = sending.apps.get(attempt.record.app)
    if app is None:
        is_over = attempt.is_expired(sending.now())
        reason = "app not configured here"
        return expired() if is_over else Retry(delay_s=UNKNOWN_APP_DELAY_S, attempts=attempt.attempts, reason=reason)
    watch = sending.safeguards.watch(app, attempt.lane, attempt.record.environment)
    one_try = _Try(attempt, sending, app, watch, first=first)
    if not watch.gate.admits():
        await watch.gate.wait()
    watch.gate.enter()
    try:
        reply = await one_try.send()
    finally:
        watch.gate.leave()
    return await one_try.decide(*reply) if isinstance(reply, tuple) else reply


async def send_each(attempts: list[Attempt], note: Callable[[Attempt, Decision], None], sending: Sending) -> None:
    """Send all at once; the transport decides how many streams are open."""

    async def send_one(attempt: Attempt) -> None:
        note(attempt, await make_attempt(attempt, sending))

    async with asyncio.TaskGroup() as group:
        for attempt in attempts:
            group.create_task(send_one(attempt))


class _Try:
    """One notification on one stream.

    Attributes:
        first: What the try before it came to, if that was made a moment ago.
    """

    # not a frozen dataclass: one is made for every push, and that would cost more than all the checks
    __slots__ = ("app", "attempt", "first", "sending", "watch")

    def __init__(self, attempt: Attempt, sending: Sending, app: App, watch: Watch, *, first: Retry | None) -> None:
        self.attempt: Final = attempt
        self.sending: Final = sending
        self.app: Final = app
        self.watch: Final = watch
        self.first: Final = first

    async def send(self) -> tuple[ApnsAnswer, Pass] | Decision:
        """Send it, if it may be sent; returns what APNs answered, or what becomes of it without an answer."""
        way = self._admit()
        if not isinstance(way, Pass):
            return way
        try:
            return await self.sending.transport.send(self._request(way)), way
        except GateClosedError:
            self.watch.note_silence(way=way, was_sent=True, now=self.sending.now())
            return self._closed()
        except Exception as exc:  # noqa: BLE001  what it was is decided in one place
            return self._decide_failure(exc, way)

    async def decide(self, answer: ApnsAnswer, way: Pass) -> Decision:
        """Decide what becomes of a notification that APNs answered."""
        sending, now, verdict = self.sending, self.sending.now(), judge(answer)
        trouble = self.watch.note(answer, verdict, way=way, now=now, dice=sending.dice)
        if trouble is not None:
            await sending.safeguards.fleet.report(trouble)
        if self.attempt.is_probe:
            await sending.safeguards.fleet.recovered(self.app.bundle_id, self.attempt.lane, verdict)
        if verdict in SUSPICIOUS:
            return await self._decide_when_clear(answer)
        if verdict in STOPPING and self._is_paused():
            return Park()
        decision = retry.ending(answer, verdict) or retry.decide(
            answer, self._circumstances(lasted_s=self.watch.stopped_for_s(now), carried_by=answer.carried_by)
        )
        if verdict in SLOWING and isinstance(decision, Retry):
            sending.safeguards.slow_devices.slow_down(self._device_token, now + decision.delay_s)
        return decision

    async def _decide_when_clear(self, answer: ApnsAnswer) -> Decision:
        """Report a device token dead only if it is not one of very many: they would all be deleted."""
        now = asyncio.get_running_loop().time
        ends = now() + min(LANE_TIMES[self.attempt.lane].hold_s, self.attempt.lease.left_s - _LEASE_MARGIN_S)
        while True:
            if self._is_paused():
                return Park()
            if (hold := self.watch.suspected(self.sending.now())) is not None:
                return self._wait(hold)
            if self.watch.is_environment_clear or now() >= ends:
                return retry.decide(answer, self._circumstances())
            if self.sending.has_stopped():
                return Release()
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _admit(self) -> Pass | Decision:
        attempt, now = self.attempt, self.sending.now()
        if attempt.is_expired(now):
            return expired()
        if self._is_paused() and not attempt.is_probe:
            return Park()
        if slowed_s := self.sending.safeguards.slow_devices.wait_s(self._device_token, now):
            return self._wait(Hold(reason=DEVICE_SLOWED, least_s=slowed_s))
        way = self.watch.admit(now, is_probe=attempt.is_probe)
        return self._wait(way) if isinstance(way, Hold) else way

    def _closed(self) -> Decision:
        """Return what becomes of a notification that might not leave any more when a stream was free."""
        attempt, now = self.attempt, self.sending.now()
        if attempt.is_expired(now):
            return expired()
        if self.sending.has_stopped() or attempt.is_cancelled() or not attempt.lease.may_open():
            return Release()
        return Park() if self._is_paused() else self._hold() or Release()

    def _hold(self) -> Decision | None:
        held = self.watch.held(self.sending.now())
        return None if held is None else self._wait(held)

    def _wait(self, hold: Hold) -> Decision:
        return retry.wait(hold.reason, self._circumstances(lasted_s=hold.lasted_s), least_s=hold.least_s)

    @property
    def _device_token(self) -> str:
        return self.attempt.record.device_tokens[self.attempt.index]

    def _is_paused(self) -> bool:
        return self.sending.pauses.is_paused(self.app.bundle_id, self.attempt.lane)

    def _decide_failure(self, exc: Exception, way: Pass) -> Decision:
        match exc:
            case TransportError():
                return self._silence(exc.reason, way, maybe_sent=exc.maybe_sent, carried_by=exc.carried_by)
            case SigningError():
                return self._silence(str(exc), way, maybe_sent=False)
            case _:
                # A mistake of ours: one notification that nobody can send must not hold up its batch for ever.
                log.error("attempt_failed", apns_id=self.attempt.apns_id, exc_info=exc)
                return self._silence(f"failed in the worker ({type(exc).__name__})", way, maybe_sent=True)

    def _silence(self, reason: str, way: Pass, *, maybe_sent: bool, carried_by: int | None = None) -> Decision:
        lasted_s = self.watch.note_silence(way=way, was_sent=maybe_sent, now=self.sending.now())
        given = self._circumstances(lasted_s=lasted_s, carried_by=carried_by)
        return retry.decide_silence(reason, given, maybe_sent=maybe_sent)

    def _circumstances(self, *, lasted_s: float = 0.0, carried_by: int | None = None) -> Circumstances:
        return Circumstances(
            lane=self.attempt.lane,
            attempts=self.attempt.attempts,
            time_left_s=self.attempt.time_left_s(self.sending.now()),
            lasted_s=lasted_s,
            scale=self.sending.retry_scale,
            dice=self.sending.dice(),
            is_second=self.first is not None,
            carried_by=carried_by,
        )

    def _may_open(self, way: Pass) -> bool:
        attempt, sending = self.attempt, self.sending
        now = sending.now()
        is_over = sending.has_stopped() or attempt.is_cancelled() or attempt.is_expired(now)
        if is_over or not attempt.lease.may_open():
            return False
        is_free = way is Pass.PROBE or self.watch.is_open(now)
        return is_free and (attempt.is_probe or not self._is_paused())

    def _request(self, way: Pass) -> PushRequest:
        attempt, record = self.attempt, self.attempt.record
        push_type = PUSH_TYPES[record.push_type]
        return PushRequest(
            environment=record.environment,
            key_id=self.app.key_id,
            device_token=self._device_token,
            apns_id=attempt.apns_id,
            topic=push_type.topic(record.app),
            push_type=push_type.name,
            priority=record.priority,
            expiration=record.expiration,
            collapse_id=record.collapse_id,
            payload=record.payload,
            deadline_s=_deadline_s(LANE_TIMES[push_type.lane], attempt.time_left_s(self.sending.now())),
            may_open=partial(self._may_open, way),
            avoid=None if self.first is None else self.first.avoid,
        )


def _deadline_s(times: LaneTimes, time_left_s: float | None) -> float:
    if time_left_s is None or not times.is_call:
        return times.deadline_s
    return min(times.deadline_s, max(SHORTEST_DEADLINE_S, time_left_s))


def expired() -> Finish:
    """Return the end of what must not be sent any more."""
    return Finish(outcome=Outcome.EXPIRED, reason="its time was over before it could be sent")
