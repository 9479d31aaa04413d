"""Ask the state server about one notification: wherever it may lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dispatcher import ids, lookup, outbox, slots
from dispatcher.cancellation import Cancellation
from dispatcher.errors import EnqueueError, StateServerError
from dispatcher.slot_values import SlotStatus
from dispatcher.state_call import StateCall
from dispatcher.state_server import StateServer
from dispatcher.status import State, Status
from dispatcher.validation import checked_apns_id

ReplyT = TypeVar("ReplyT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiries:
    """Finds notifications by their apns ids.

    A batch is found from the id alone. The slot of a caller's own id may lie in any shard, and an id of ours cannot be
    told from one that a caller made up: all shards are asked.

    Attributes:
        state: The state server.
    """

    state: StateServer

    def cancel(self, apns_id: str) -> Cancellation:
        """Cancel a notification; see `Dispatcher.cancel`."""
        checked_apns_id(apns_id)
        calls = [lookup.cancel(batch_id, index) for batch_id, index in ids.places_of(apns_id)]
        calls += [slots.cancel(shard, apns_id) for shard in range(ids.SHARDS)]
        return lookup.most_telling(self._ask(calls))

    def status(self, apns_id: str) -> Status | None:
        """Tell where a notification is; see `Dispatcher.status`."""
        checked_apns_id(apns_id)
        batches = [lookup.status(batch_id, index) for batch_id, index in ids.places_of(apns_id)]
        in_slots = [slots.status(shard, apns_id) for shard in range(ids.SHARDS)]
        in_ends = [lookup.ended(shard, apns_id) for shard in range(ids.SHARDS)]
        # In this order: what ends while we ask is found ended.
        calls: list[StateCall[Any]] = [*batches, *in_slots, *in_ends, outbox.time()]
        *replies, now = self._ask(calls)
        in_batches, found_in_slots = replies[: len(batches)], replies[len(batches) : -ids.SHARDS]
        ends = replies[-ids.SHARDS :]
        held = [_slot_status(apns_id, found, now) for found in found_in_slots if found]
        # How it ended says more than that it ended.
        found = [*filter(None, ends), *held, *filter(None, in_batches)]
        return found[0] if found else None

    def _ask(self, calls: Sequence[StateCall[ReplyT]]) -> list[ReplyT]:
        try:
            return self.state.run_all(calls)
        except EnqueueError as exc:
            raise StateServerError("the state server does not answer") from exc


def _slot_status(apns_id: str, found: SlotStatus, now: float) -> Status:
    is_held = found.allowed > now
    if found.is_being_sent:
        state = State.BEING_SENT
    elif found.is_parked:
        state = State.PARKED
    else:
        state = State.HELD if is_held else State.QUEUED
    due = found.allowed if state is State.HELD else None
    return Status(apns_id=apns_id, state=state, accepted_at=found.accepted_at, due=due, attempts=found.attempts)
