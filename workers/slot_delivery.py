"""Send the due slots of an app and shard, a hundred at a time, until none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import structlog

from dispatcher import record, slots
from dispatcher.errors import MessageError
from dispatcher.feedback import Outcome
from dispatcher.notes import Ends
from dispatcher.push_types import Lane
from dispatcher.slots import Slot, SlotReturn
from workers.attempt import Attempt, send_each
from workers.edges import Edges
from workers.endings import leave, leave_unreadable, summary_text
from workers.lease import LANE_TIMES, Lease
from workers.progress import ProgressWriter
from workers.retry import Decision, Finish, Park, Release, Retry

#: Slots taken by one claim.
SLOTS_AT_ONCE: Final = 100

log = structlog.get_logger()


async def deliver_slots(app: str, shard: int, edges: Edges) -> str:
    """Send due slots until none is left; the claim that finds none ends the wake-up."""
    decisions: list[Decision] = []
    is_drained = False
    try:
        while not is_drained and not edges.sending.has_stopped():
            some = await _deliver_some(app, shard, edges)
            decisions += some
            is_drained = not some
    finally:
        if not is_drained:
            await asyncio.shield(edges.state.run(slots.rest(app, shard)))
    return summary_text(decisions)


async def _deliver_some(app: str, shard: int, edges: Edges) -> list[Decision]:
    times = LANE_TIMES[Lane.BACKGROUND]
    claim_id, lease = uuid4().hex, Lease(times, edges.monotonic)
    claimed = await edges.state.run(slots.claim(app, shard, claim_id, lease_s=times.lease_s, most=SLOTS_AT_ONCE))
    work = _SlotsWork(app=app, shard=shard, claim_id=claim_id, lease=lease, edges=edges)
    return await work.send_all(claimed.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SlotsWork:
    """Claimed slots in this worker's hands."""

    app: str
    shard: int
    claim_id: str
    lease: Lease
    edges: Edges

    async def send_all(self, claimed: Sequence[Slot]) -> list[Decision]:
        times = LANE_TIMES[Lane.BACKGROUND]
        devices = {slot.apns_id: slot.device for slot in claimed}
        attempts: list[Attempt] = []
        decisions: list[Decision] = []
        for slot in claimed:
            try:
                attempts.append(self._attempt(slot))
            except MessageError as exc:
                decisions.append(await self._bury_unreadable(slot, str(exc)))
        unanswered = {attempt.apns_id: attempt for attempt in attempts}
        writer: ProgressWriter[SlotReturn] = ProgressWriter(
            self._write, every_s=times.progress_s, every_notes=times.progress_answers
        )

        def note(attempt: Attempt, decision: Decision) -> None:
            del unanswered[attempt.apns_id]
            decisions.append(decision)
            writer.note(_slot_return(devices[attempt.apns_id], attempt, decision))

        try:
            async with writer:
                await send_each(attempts, note, self.edges.sending)
        finally:
            left = [_slot_return(devices[apns_id], attempt, Release()) for apns_id, attempt in unanswered.items()]
            await asyncio.shield(self._write(writer.rest + left))
        return decisions

    def _attempt(self, slot: Slot) -> Attempt:
        return Attempt(
            record=record.decode(slot.record),
            index=0,
            apns_id=slot.apns_id,
            accepted_at=slot.accepted_at,
            attempts=slot.attempts,
            lease=self.lease,
        )

    async def _bury_unreadable(self, slot: Slot, reason: str) -> Finish:
        """Lay a record that no retry can make readable among the dead letters, as it is."""
        log.error("record_unreadable", apns_id=slot.apns_id, lane=Lane.BACKGROUND, reason=reason)
        ends = Ends()
        leave_unreadable(ends, slot.apns_id, slot.record, Lane.BACKGROUND, reason)
        await self._write([SlotReturn(device=slot.device, apns_id=slot.apns_id, ends=ends)])
        return Finish(outcome=Outcome.DEAD_LETTERED, reason=reason)

    async def _write(self, returns: list[SlotReturn]) -> None:
        if not returns:
            return
        ours = await self.edges.state.run(slots.give_back(self.app, self.shard, self.claim_id, returns))
        if ours < len(returns):
            log.warning("claim_lost", app=self.app, shard=self.shard, unwritten=len(returns) - ours)


def _slot_return(device: str, attempt: Attempt, decision: Decision) -> SlotReturn:
    ends = Ends()
    delay_s, attempts = 0.0, attempt.attempts
    match decision:
        case Finish():
            leave(ends, attempt.record, 0, attempt.apns_id, decision, accepted_at=attempt.accepted_at, in_slot=True)
            return SlotReturn(device=device, apns_id=attempt.apns_id, ends=ends)
        case Retry():
            leave(ends, attempt.record, 0, attempt.apns_id, decision)
            delay_s, attempts = decision.delay_s, decision.attempts
        case Release() | Park():
            log.debug("slot_released", apns_id=attempt.apns_id)
    return SlotReturn(device=device, apns_id=attempt.apns_id, ends=ends, delay_s=delay_s, attempts=attempts)
