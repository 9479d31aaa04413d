"""Send a batch: claim it, send what is due, note answers as they come, settle it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Final
from uuid import uuid4

import structlog

from dispatcher import ids, outbox, record
from dispatcher.claimed import Claimed, ClaimState, Waiting
from dispatcher.errors import MessageError
from dispatcher.feedback import Outcome
from dispatcher.notes import Notes, with_try
from dispatcher.push_types import Lane
from dispatcher.record import Record
from dispatcher.sealing import batch_place
from workers.attempt import send_each
from workers.edges import Edges
from workers.endings import MAX_CRASHES, POISONOUS, UNREADABLE, Past, leave, leave_unreadable, summary_text
from workers.lease import LANE_TIMES, Lease
from workers.progress import Bunch, ProgressWriter
from workers.retry import Decision, Finish, Park, Release, Retry
from workers.sending import Attempt

#: The reason is spelled as in ends.lua.
_CANCELLED: Final = Finish(outcome=Outcome.CANCELLED, reason="the app cancelled it")

_Decided = tuple[Attempt, Decision]
_Note = Callable[[Attempt, Decision], None]

log = structlog.get_logger()


async def deliver_batch(batch_id: str, lane: Lane, queue: str, edges: Edges) -> str:
    """Send what is due of a batch; returns what Flower shows."""
    times = LANE_TIMES[lane]
    claim_id, lease = uuid4().hex, Lease(times, edges.monotonic)
    claimed = await edges.state.run(outbox.claim(batch_id, claim_id, lane=lane, queue=queue, lease_s=times.lease_s))
    if claimed.state is not ClaimState.CLAIMED:
        return claimed.state
    try:
        batch = record.decode(claimed.record, batch_place(batch_id), edges.sealing)
    except MessageError as exc:
        return await _bury_unreadable(batch_id, claim_id, lane=lane, claimed=claimed, reason=str(exc), edges=edges)
    work = _BatchWork(
        batch_id=batch_id, claim_id=claim_id, lane=lane, record=batch, claimed=claimed, lease=lease, edges=edges
    )
    work.cancelled.update(claimed.cancelled)
    return await work.send_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class _BatchWork:
    """A claimed batch in this worker's hands.

    Attributes:
        cancelled: Indices that must not be sent any more; more may come while others are sent.
    """

    batch_id: str
    claim_id: str
    lane: Lane
    record: Record
    claimed: Claimed
    lease: Lease
    edges: Edges
    cancelled: set[int] = field(default_factory=set)

    async def send_all(self) -> str:
        times, pending = LANE_TIMES[self.lane], list(self._pending())
        decisions: list[Decision] = []
        writer: ProgressWriter[_Decided] = ProgressWriter(
            self._write,
            every_s=times.progress_s,
            every_notes=times.progress_answers,
            idle_write_s=self.lease.renew_every_s,
        )

        def note(attempt: Attempt, decision: Decision) -> None:
            if attempt.index in self.cancelled and not isinstance(decision, Finish):
                decision = _CANCELLED
            decisions.append(decision)
            if len(decisions) == len(pending):
                return writer.rest.append((attempt, decision))  # the last one is written by settling
            return writer.note((attempt, decision))

        try:
            async with writer:
                await self._send(pending, note, writer)
        finally:
            is_parked = any(isinstance(decision, Park) for decision in decisions)
            await asyncio.shield(self._settle(writer, is_parked=is_parked))
        return summary_text(decisions)

    def _pending(self) -> Iterator[Attempt]:
        """Yield the notifications that have not ended and are due."""
        for index in range(len(self.record.device_tokens)):
            is_done = self.claimed.done[index : index + 1] == "1"
            waiting = self._waiting(index)
            if not is_done and (waiting.due <= self.claimed.now or index in self.cancelled):
                yield Attempt(
                    record=self.record,
                    index=index,
                    apns_id=ids.apns_id_of(self.batch_id, index),
                    accepted_at=self.claimed.accepted_at,
                    attempts=waiting.attempts,
                    lease=self.lease,
                    is_cancelled=partial(self.cancelled.__contains__, index),
                )

    async def _send(self, pending: list[Attempt], note: _Note, writer: ProgressWriter[_Decided]) -> None:
        """Send what may be sent: all at once, or one by one if a worker died of one of them."""
        sendable = []
        for attempt in pending:
            if attempt.index in self.cancelled:
                note(attempt, _CANCELLED)
            elif self.claimed.crashes.get(attempt.index, 0) >= MAX_CRASHES:
                log.error("poison_buried", apns_id=attempt.apns_id, crashes=MAX_CRASHES)
                note(attempt, POISONOUS)
            else:
                sendable.append(attempt)
        sendable = await self._with_probe(sendable)
        if self.claimed.is_suspect:
            await self._send_with_care(sendable, note, writer)
        else:
            await send_each(sendable, note, self.edges.sending)

    async def _send_with_care(self, sendable: list[Attempt], note: _Note, writer: ProgressWriter[_Decided]) -> None:
        """Send one by one, each announced together with what is known of those before, so that a death is its own."""
        for attempt in sendable:
            await writer.flush(trying=attempt.index)
            if not self.lease.may_open() or self.edges.sending.has_stopped():
                break
            await send_each([attempt], note, self.edges.sending)

    async def _with_probe(self, sendable: list[Attempt]) -> list[Attempt]:
        """Let the first be sent although its app is paused, if it is time to see whether the trouble is over."""
        pauses, app = self.edges.sending.pauses, self.record.app
        if sendable and pauses.is_paused(app, self.lane) and await pauses.take_probe(app, self.lane):
            return [replace(sendable[0], is_probe=True), *sendable[1:]]
        return sendable

    async def _write(self, bunch: Bunch[_Decided]) -> None:
        asked_at = self.edges.monotonic()
        call = outbox.progress(
            self.batch_id,
            self.claim_id,
            self._notes(bunch.notes),
            app=self.record.app,
            lane=self.lane,
            lease_s=LANE_TIMES[self.lane].lease_s,
            size=len(self.record.device_tokens),
            number=bunch.number,
            trying=bunch.trying,
        )
        progress = await self.edges.state.run(call)
        self.cancelled.update(progress.cancelled)
        if progress.is_ours:
            self.lease.renew(asked_at)
        else:
            self.lease.lose()

    async def _settle(self, writer: ProgressWriter[_Decided], *, is_parked: bool) -> None:
        if writer.doubtful is not None:
            await self._write(writer.doubtful)
        notes = writer.rest
        call = outbox.settle(
            self.batch_id,
            self.claim_id,
            self._notes(notes),
            app=self.record.app,
            lane=self.lane,
            size=len(self.record.device_tokens),
            park_until=self._expires_at() if is_parked else None,
        )
        if not await self.edges.state.run(call):
            log.warning("claim_lost", batch_id=self.batch_id, unwritten=len(notes))

    def _expires_at(self) -> float:
        """Return when those of its notifications that have not ended expire, all at once; infinity for never."""
        expires_at = self.record.expires_at(self.claimed.accepted_at)
        return inf if expires_at is None else expires_at

    def _notes(self, decided: list[_Decided]) -> Notes:
        notes = Notes()
        for attempt, decision in decided:
            match decision:
                case Finish():
                    notes.ended.append(attempt.index)
                    self._leave(notes, attempt, decision)
                case Retry(delay_s=delay_s, attempts=attempts, reason=reason):
                    history = with_try(self._waiting(attempt.index).history, self.edges.sending.now(), reason)
                    notes.waiting.append((attempt.index, attempts, delay_s, history))
                    self._leave(notes, attempt, decision)
                case Release() | Park():
                    continue
        return notes

    def _leave(self, notes: Notes, attempt: Attempt, decision: Finish | Retry) -> None:
        history = self._waiting(attempt.index).history
        past = Past(attempts=attempt.attempts, history=history, accepted_at=attempt.accepted_at)
        sealing = self.edges.sealing
        leave(notes.ends, self.record, attempt.index, attempt.apns_id, decision, sealing=sealing, past=past)

    def _waiting(self, index: int) -> Waiting:
        return self.claimed.waiting.get(index, Waiting())


async def _bury_unreadable(
    batch_id: str, claim_id: str, *, lane: Lane, claimed: Claimed, reason: str, edges: Edges
) -> str:
    """Lay a record that no retry can make readable among the dead letters, as it is."""
    notes = Notes()
    digest = leave_unreadable(
        notes.ends, batch_id, claimed.record, lane, reason, accepted_at=claimed.accepted_at, done=claimed.done
    )
    size_bytes = len(claimed.record)
    log.error("record_unreadable", apns_id=batch_id, lane=lane, reason=reason, sha256=digest, size_bytes=size_bytes)
    await edges.state.run(outbox.settle(batch_id, claim_id, notes, app=UNREADABLE, lane=lane, size=0))
    return UNREADABLE
