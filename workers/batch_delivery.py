"""Send a batch: claim it, send what is due, note answers as they come, settle it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

import structlog

from dispatcher import ids, outbox, record
from dispatcher.errors import MessageError
from dispatcher.notes import Notes
from dispatcher.outbox import Claimed, ClaimState, Waiting
from dispatcher.push_types import Lane
from dispatcher.record import Record
from workers.attempt import Attempt, send_each
from workers.edges import Edges
from workers.endings import UNREADABLE, leave, leave_unreadable, summary_text
from workers.lease import LANE_TIMES, Lease
from workers.progress import ProgressWriter
from workers.retry import Decision, Finish, Park, Release, Retry

log = structlog.get_logger()


async def deliver_batch(batch_id: str, lane: Lane, queue: str, edges: Edges) -> str:
    """Send what is due of a batch; returns what Flower shows."""
    times = LANE_TIMES[lane]
    claim_id, lease = uuid4().hex, Lease(times, edges.monotonic)
    claimed = await edges.state.run(outbox.claim(batch_id, claim_id, lane=lane, queue=queue, lease_s=times.lease_s))
    if claimed.state is not ClaimState.CLAIMED:
        return claimed.state
    try:
        batch = record.decode(claimed.record)
    except MessageError as exc:
        return await _bury_unreadable(batch_id, claim_id, lane=lane, claimed=claimed, reason=str(exc), edges=edges)
    work = _BatchWork(batch_id=batch_id, claim_id=claim_id, lane=lane, record=batch, lease=lease, edges=edges)
    return await work.send_all(await _with_probe(list(_pending(batch_id, batch, claimed, lease)), lane, edges))


def _pending(batch_id: str, batch: Record, claimed: Claimed, lease: Lease) -> Iterator[Attempt]:
    """Yield the notifications that have not ended and are due."""
    for index in range(len(batch.device_tokens)):
        is_done = claimed.done[index : index + 1] == "1"
        waiting = claimed.waiting.get(index, Waiting())
        if not is_done and waiting.due <= claimed.now:
            yield Attempt(
                record=batch,
                index=index,
                apns_id=ids.apns_id_of(batch_id, index),
                accepted_at=claimed.accepted_at,
                attempts=waiting.attempts,
                lease=lease,
            )


async def _with_probe(pending: list[Attempt], lane: Lane, edges: Edges) -> list[Attempt]:
    """Let the first one be the probe, where the app is paused and a probe may be sent."""
    pauses = edges.sending.pauses
    if not pending or not pauses.is_paused(pending[0].record.app, lane):
        return pending
    if not await pauses.take_probe(pending[0].record.app, lane):
        return pending
    return [replace(pending[0], is_probe=True), *pending[1:]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _BatchWork:
    """A claimed batch in this worker's hands."""

    batch_id: str
    claim_id: str
    lane: Lane
    record: Record
    lease: Lease
    edges: Edges

    async def send_all(self, pending: list[Attempt]) -> str:
        times = LANE_TIMES[self.lane]
        decisions: list[Decision] = []
        writer = ProgressWriter(
            self._write,
            every_s=times.progress_s,
            every_notes=times.progress_answers,
            idle_write_s=self.lease.renew_every_s,
        )

        def note(attempt: Attempt, decision: Decision) -> None:
            decisions.append(decision)
            if len(decisions) == len(pending):
                return writer.rest.append((attempt, decision))  # the last one is written by settling
            return writer.note((attempt, decision))

        try:
            async with writer:
                await send_each(pending, note, self.edges.sending)
        finally:
            is_parked = any(isinstance(decision, Park) for decision in decisions)
            await asyncio.shield(self._settle(writer.rest, park_until=math.inf if is_parked else None))
        return summary_text(decisions)

    async def _write(self, notes: list[tuple[Attempt, Decision]]) -> None:
        asked_at = self.edges.monotonic()
        call = outbox.progress(
            self.batch_id,
            self.claim_id,
            self._notes(notes),
            app=self.record.app,
            lane=self.lane,
            lease_s=LANE_TIMES[self.lane].lease_s,
            size=len(self.record.device_tokens),
        )
        if await self.edges.state.run(call):
            self.lease.renew(asked_at)
        else:
            self.lease.lose()

    async def _settle(self, notes: list[tuple[Attempt, Decision]], *, park_until: float | None) -> None:
        size = len(self.record.device_tokens)
        call = outbox.settle(
            self.batch_id,
            self.claim_id,
            self._notes(notes),
            app=self.record.app,
            lane=self.lane,
            size=size,
            park_until=park_until,
        )
        if not await self.edges.state.run(call):
            log.warning("claim_lost", batch_id=self.batch_id, unwritten=len(notes))

    def _notes(self, decided: list[tuple[Attempt, Decision]]) -> Notes:
        notes = Notes()
        for attempt, decision in decided:
            match decision:
                case Finish():
                    notes.ended.append(attempt.index)
                    leave(notes.ends, self.record, attempt.index, attempt.apns_id, decision)
                case Retry(delay_s=delay_s, attempts=attempts):
                    notes.waiting.append((attempt.index, attempts, delay_s))
                    leave(notes.ends, self.record, attempt.index, attempt.apns_id, decision)
                case Release() | Park():
                    continue
        return notes


async def _bury_unreadable(
    batch_id: str, claim_id: str, *, lane: Lane, claimed: Claimed, reason: str, edges: Edges
) -> str:
    """Lay a record that no retry can make readable among the dead letters, as it is."""
    log.error("record_unreadable", apns_id=batch_id, lane=lane, reason=reason)
    notes = Notes()
    leave_unreadable(notes.ends, batch_id, claimed.record, lane, reason)
    await edges.state.run(outbox.settle(batch_id, claim_id, notes, app=UNREADABLE, lane=lane, size=0))
    return UNREADABLE
