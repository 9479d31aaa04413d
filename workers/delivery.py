"""The conductor: what a worker does with one message, told from top to bottom.

A message names a batch, or wakes for the due slots of an app and shard. Either is claimed, sent notification by
notification, noted down while answers come in, and settled. Whatever this process does not finish, another one takes up
when the lease ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar
from uuid import uuid4

import structlog

from dispatcher import ids, outbox, record, routing, slots
from dispatcher.errors import MessageError
from dispatcher.feedback import Outcome
from dispatcher.outbox import Claimed, ClaimState, Ends, Notes, Waiting
from dispatcher.push_types import Lane
from dispatcher.record import Record
from dispatcher.slots import Slot, SlotReturn
from dispatcher.state_call import StateCall
from workers.attempt import Attempt, Sending, make_attempt
from workers.endings import leave, summary_text
from workers.lease import LANE_TIMES, Lease
from workers.progress import ProgressWriter
from workers.retry import Decision, Finish, Release, Retry

ReplyT = TypeVar("ReplyT")

#: Slots taken by one claim.
SLOTS_AT_ONCE: Final = 100
_UNREADABLE: Final = "unreadable"

log = structlog.get_logger()


class State(Protocol):
    """The state server, as the conductor wants it."""

    async def run(self, call: StateCall[ReplyT]) -> ReplyT:
        """Run one call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What the conductor acts through.

    Attributes:
        state: The state server.
        sending: What attempts need.
        monotonic: A clock that never jumps, in seconds.
    """

    state: State
    sending: Sending
    monotonic: Callable[[], float]


async def deliver(batch_id: str, *, lane: Lane, queue: str, edges: Edges) -> str:
    """Do what a message says; returns the short result that Flower shows."""
    wake_up = routing.parse_wake_up(batch_id)
    if wake_up is not None:
        return await _deliver_slots(*wake_up, edges)
    return await _deliver_batch(batch_id, lane, queue, edges)


async def _deliver_batch(batch_id: str, lane: Lane, queue: str, edges: Edges) -> str:
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
    return await work.send_all(list(_pending(batch_id, batch, claimed, lease)))


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
                await _send_each(pending, note, self.edges.sending)
        finally:
            await asyncio.shield(self._settle(writer.rest))
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

    async def _settle(self, notes: list[tuple[Attempt, Decision]]) -> None:
        size = len(self.record.device_tokens)
        call = outbox.settle(
            self.batch_id, self.claim_id, self._notes(notes), app=self.record.app, lane=self.lane, size=size
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
                case Release():
                    continue
        return notes


async def _deliver_slots(app: str, shard: int, edges: Edges) -> str:
    """Send due slots until none is left; the claim that finds none ends the wake-up."""
    decisions: list[Decision] = []
    times = LANE_TIMES[Lane.BACKGROUND]
    while not edges.sending.has_stopped():
        claim_id, lease = uuid4().hex, Lease(times, edges.monotonic)
        claimed = await edges.state.run(slots.claim(app, shard, claim_id, lease_s=times.lease_s, most=SLOTS_AT_ONCE))
        if not claimed.slots:
            break
        work = _SlotsWork(app=app, shard=shard, claim_id=claim_id, edges=edges)
        decisions += await work.send_all([_slot_attempt(slot, lease) for slot in claimed.slots])
    return summary_text(decisions)


def _slot_attempt(slot: Slot, lease: Lease) -> tuple[Slot, Attempt]:
    attempt = Attempt(
        record=record.decode(slot.record),
        index=0,
        apns_id=slot.apns_id,
        accepted_at=slot.accepted_at,
        attempts=slot.attempts,
        lease=lease,
    )
    return slot, attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class _SlotsWork:
    """Claimed slots in this worker's hands."""

    app: str
    shard: int
    claim_id: str
    edges: Edges

    async def send_all(self, claimed: list[tuple[Slot, Attempt]]) -> list[Decision]:
        times = LANE_TIMES[Lane.BACKGROUND]
        devices = {attempt.apns_id: slot.device for slot, attempt in claimed}
        unanswered = {attempt.apns_id: attempt for _, attempt in claimed}
        decisions: list[Decision] = []
        writer: ProgressWriter[SlotReturn] = ProgressWriter(
            self._write, every_s=times.progress_s, every_notes=times.progress_answers
        )

        def note(attempt: Attempt, decision: Decision) -> None:
            del unanswered[attempt.apns_id]
            decisions.append(decision)
            writer.note(_slot_return(devices[attempt.apns_id], attempt, decision))

        try:
            async with writer:
                await _send_each([attempt for _, attempt in claimed], note, self.edges.sending)
        finally:
            left = [_slot_return(devices[apns_id], attempt, Release()) for apns_id, attempt in unanswered.items()]
            await asyncio.shield(self._write(writer.rest + left))
        return decisions

    async def _write(self, returns: list[SlotReturn]) -> None:
        if returns:
            await self.edges.state.run(slots.give_back(self.app, self.shard, self.claim_id, returns))


def _slot_return(device: str, attempt: Attempt, decision: Decision) -> SlotReturn:
    ends = Ends()
    delay_s, attempts = 0.0, attempt.attempts
    match decision:
        case Finish():
            leave(ends, attempt.record, 0, attempt.apns_id, decision)
            return SlotReturn(device=device, apns_id=attempt.apns_id, ends=ends)
        case Retry():
            leave(ends, attempt.record, 0, attempt.apns_id, decision)
            delay_s, attempts = decision.delay_s, decision.attempts
        case Release():
            log.debug("slot_released", apns_id=attempt.apns_id)
    return SlotReturn(device=device, apns_id=attempt.apns_id, ends=ends, delay_s=delay_s, attempts=attempts)


async def _send_each(attempts: list[Attempt], note: Callable[[Attempt, Decision], None], sending: Sending) -> None:
    """Send all at once; the transport decides how many streams are open."""

    async def send_one(attempt: Attempt) -> None:
        note(attempt, await make_attempt(attempt, sending))

    async with asyncio.TaskGroup() as group:
        for attempt in attempts:
            group.create_task(send_one(attempt))


async def _bury_unreadable(
    batch_id: str, claim_id: str, *, lane: Lane, claimed: Claimed, reason: str, edges: Edges
) -> str:
    """Lay a record that no retry can make readable among the dead letters, as it is."""
    ends = Ends()
    ends.add(f"{Outcome.DEAD_LETTERED}|{_UNREADABLE}|{lane}|{_UNREADABLE}")
    ends.dead.append(["apns_id", batch_id, "reason", reason, "record", claimed.record.decode(errors="replace")])
    await edges.state.run(outbox.settle(batch_id, claim_id, Notes(ends=ends), app=_UNREADABLE, lane=lane, size=0))
    log.error("record_unreadable", batch_id=batch_id, lane=lane, reason=reason)
    return _UNREADABLE
