"""Send the due slots of an app and shard, a hundred at a time, until none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

import structlog

from dispatcher import record, slots
from dispatcher.errors import MessageError
from dispatcher.feedback import Outcome
from dispatcher.notes import Ends, with_try
from dispatcher.push_types import Lane
from dispatcher.sealing import slot_place
from dispatcher.slot_values import Slot, SlotReturn
from workers.attempt import expired, send_each
from workers.edges import Edges
from workers.endings import MAX_CRASHES, POISONOUS, Past, leave, leave_unreadable, summary_text
from workers.lease import LANE_TIMES, Lease
from workers.progress import Bunch, ProgressWriter
from workers.retry import Decision, Finish, Park, Release, Retry
from workers.sending import Attempt

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
        claimed_slots = {slot.apns_id: slot for slot in claimed}
        unsent, unanswered = self._looked_through(claimed)
        decisions: list[Decision] = [decision for _, decision in unsent]
        writer: ProgressWriter[SlotReturn] = ProgressWriter(
            self._write_bunch, every_s=times.progress_s, every_notes=times.progress_answers
        )
        for item, _ in unsent:
            writer.note(item)

        def note(attempt: Attempt, decision: Decision) -> None:
            del unanswered[attempt.apns_id]
            decisions.append(decision)
            writer.note(self._slot_return(claimed_slots[attempt.apns_id], attempt, decision))

        try:
            async with writer:
                await send_each(await self._with_probe(list(unanswered.values())), note, self.edges.sending)
        finally:
            left = [self._cut_off(claimed_slots[apns_id], attempt) for apns_id, attempt in unanswered.items()]
            doubtful = writer.doubtful.notes if writer.doubtful else []
            await asyncio.shield(self._write(doubtful + writer.rest + left))
        return decisions

    def _looked_through(self, claimed: Sequence[Slot]) -> tuple[list[tuple[SlotReturn, Decision]], dict[str, Attempt]]:
        """Return what ends without being sent, and what is to be sent by apns id."""
        unsent: list[tuple[SlotReturn, Decision]] = []
        sendable: dict[str, Attempt] = {}
        for slot in claimed:
            try:
                attempt = self._attempt(slot)
            except MessageError as exc:
                unsent.append(_unreadable(slot, str(exc)))
                continue
            if slot.has_expired:
                finish = expired()
            elif slot.crashes >= MAX_CRASHES:
                log.error("poison_buried", apns_id=slot.apns_id, crashes=slot.crashes)
                finish = POISONOUS
            else:
                sendable[slot.apns_id] = attempt
                continue
            unsent.append((self._slot_return(slot, attempt, finish), finish))
        return unsent, sendable

    async def _with_probe(self, attempts: list[Attempt]) -> list[Attempt]:
        """Return the attempts, the first of which may be sent though its app is paused."""
        pauses = self.edges.sending.pauses
        is_paused = attempts and pauses.is_paused(self.app, Lane.BACKGROUND)
        if is_paused and await pauses.take_probe(self.app, Lane.BACKGROUND):
            return [replace(attempts[0], is_probe=True), *attempts[1:]]
        return attempts

    def _attempt(self, slot: Slot) -> Attempt:
        return Attempt(
            record=record.decode(slot.record, slot_place(self.shard, slot.device, slot.apns_id), self.edges.sealing),
            index=0,
            apns_id=slot.apns_id,
            accepted_at=slot.accepted_at,
            attempts=slot.attempts,
            lease=self.lease,
        )

    def _slot_return(self, slot: Slot, attempt: Attempt, decision: Decision) -> SlotReturn:
        item = SlotReturn(
            device=slot.device,
            apns_id=slot.apns_id,
            ends=Ends(),
            counts=_counts(decision),
            attempts=attempt.attempts,
            history=slot.history,
        )
        match decision:
            case Finish():
                past = Past(attempts=attempt.attempts, history=slot.history, accepted_at=slot.accepted_at, in_slot=True)
                leave(item.ends, attempt.record, 0, slot.apns_id, decision, sealing=self.edges.sealing, past=past)
                return item
            case Retry():
                leave(item.ends, attempt.record, 0, slot.apns_id, decision, sealing=self.edges.sealing)
                history = with_try(slot.history, self.edges.sending.now(), decision.reason)
                return replace(item, delay_s=decision.delay_s, attempts=decision.attempts, history=history)
            case Park():
                return replace(item, is_parked=True)
            case Release():
                log.debug("slot_released", apns_id=slot.apns_id)
                return replace(item, delay_s=0.0)

    def _cut_off(self, slot: Slot, attempt: Attempt) -> SlotReturn:
        """Give back what got no decision: it may have been on its way."""
        return replace(self._slot_return(slot, attempt, Release()), counts=True)

    async def _write_bunch(self, bunch: Bunch[SlotReturn]) -> None:
        await self._write(bunch.notes)

    async def _write(self, returns: list[SlotReturn]) -> None:
        if not returns:
            return
        ours = await self.edges.state.run(slots.give_back(self.app, self.shard, self.claim_id, returns))
        if ours < len(returns):
            log.warning("claim_lost", app=self.app, shard=self.shard, unwritten=len(returns) - ours)


def _unreadable(slot: Slot, reason: str) -> tuple[SlotReturn, Finish]:
    """Lay a record that no retry can make readable among the dead letters, as it is."""
    ends, lane = Ends(), Lane.BACKGROUND
    digest = leave_unreadable(
        ends, slot.apns_id, slot.record, lane, reason, accepted_at=slot.accepted_at, device=slot.device
    )
    size_bytes = len(slot.record)
    log.error("record_unreadable", apns_id=slot.apns_id, lane=lane, reason=reason, sha256=digest, size_bytes=size_bytes)
    item = SlotReturn(device=slot.device, apns_id=slot.apns_id, ends=ends, counts=False)
    return item, Finish(outcome=Outcome.DEAD_LETTERED, reason=reason)


def _counts(decision: Decision) -> bool:
    """Tell whether a push may have reached Apple and was not turned away: then it uses up the device's budget."""
    match decision:
        case Finish():
            return decision.maybe_sent or decision.outcome is Outcome.DELIVERED
        case Retry():
            return decision.maybe_sent
        case Release() | Park():
            return False
