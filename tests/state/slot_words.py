"""Short words for what the tests do with the slots of one shard."""

from __future__ import annotations

import json
from typing import Any, Final

from dispatcher import record, redis_keys, routing, slots
from dispatcher.cancellation import Cancellation
from dispatcher.notes import Ends
from dispatcher.push_types import Lane
from dispatcher.record import Record
from dispatcher.sealing import PLAIN, batch_place
from dispatcher.slot_values import (
    DeviceOnline,
    Slot,
    SlotPut,
    SlotReturn,
    SlotsClaimed,
    SlotStatus,
    SlotTerms,
)

APP: Final = "com.example.app"
SHARD: Final = 5
DEVICE: Final = "d" * 32
WAKE_UP: Final = routing.wake_up_id(APP, SHARD)
LEASE_S: Final = 30.0
SPACING_S: Final = 1200.0


def stored_once(batch: Record) -> bytes:
    """Return a stored form for tests of scripts, which never open one."""
    return record.encode(batch, batch_place("any"), PLAIN)


class Slots:
    """The slots of one shard; every notification has the same record."""

    def __init__(self, state: Any, stored: bytes) -> None:
        self.state = state
        self.stored = stored

    def put(self, apns_id: str, *, device: str = DEVICE, digest: str = "", **terms: Any) -> SlotPut:
        """Put a notification."""
        call = slots.put(
            SHARD, device, apns_id, self.stored, app=APP, terms=SlotTerms(**terms), digest=digest, window_s=60
        )
        put = self.state.run(call)
        assert isinstance(put, SlotPut)
        return put

    def put_spaced(self, apns_id: str, **terms: Any) -> SlotPut:
        """Put a notification that counts for the device's budget."""
        return self.put(apns_id, spacing_s=SPACING_S, **terms)

    def claim(self, claim_id: str = "one", *, most: int = 100) -> tuple[Slot, ...]:
        """Claim due slots."""
        claimed = self.state.run(slots.claim(APP, SHARD, claim_id, lease_s=LEASE_S, most=most))
        assert isinstance(claimed, SlotsClaimed)
        return claimed.slots

    def claim_ids(self, claim_id: str = "one") -> list[str]:
        """Claim due slots; returns their apns ids."""
        return [slot.apns_id for slot in self.claim(claim_id)]

    def give_back(
        self,
        apns_id: str,
        claim_id: str = "one",
        *,
        delay_s: float | None = None,
        counts: bool | None = None,
        is_parked: bool = False,
        **changes: Any,
    ) -> int:
        """Give a slot back: delivered, which counts, or to be tried again."""
        has_ended = delay_s is None and not is_parked
        ends = Ends()
        ends.add(redis_keys.counter("delivered" if has_ended else "retried", APP, Lane.BACKGROUND))
        item = SlotReturn(
            device=DEVICE,
            apns_id=apns_id,
            ends=ends,
            counts=has_ended if counts is None else counts,
            delay_s=delay_s,
            is_parked=is_parked,
            **changes,
        )
        return int(self.state.run(slots.give_back(APP, SHARD, claim_id, [item])))

    def deliver(self, apns_id: str) -> None:
        """Claim a notification, which must be due, and deliver it."""
        assert self.claim_ids() == [apns_id]
        assert self.give_back(apns_id) == 1

    def sweep(self) -> list[str]:
        """Sweep; returns the wake-ups to publish."""
        return [message.batch_id for message in self.state.run(slots.sweep(SHARD, [APP]))]

    def online(self, *, fetched: bool = False) -> DeviceOnline:
        """Launch the app on the device."""
        online = self.state.run(slots.device_online(SHARD, DEVICE, app=APP, fetched=fetched))
        assert isinstance(online, DeviceOnline)
        return online

    def cancel(self, apns_id: str) -> Cancellation:
        """Cancel a notification."""
        return Cancellation(self.state.run(slots.cancel(SHARD, apns_id)))

    def status(self, apns_id: str) -> SlotStatus | None:
        """Ask how far a notification has come."""
        status = self.state.run(slots.status(SHARD, apns_id))
        assert status is None or isinstance(status, SlotStatus)
        return status

    def unpark(self, *, before: float = float("inf"), most: int = 100) -> list[str]:
        """End a pause; returns the wake-ups to publish."""
        return [message.batch_id for message in self.state.run(slots.unpark(SHARD, APP, before=before, most=most))]

    def left(self) -> set[str]:
        """Return every key but those that go by themselves, and that of the wake-up being worked on."""
        wake_ups = {redis_keys.leased(SHARD, Lane.BACKGROUND), redis_keys.queued(SHARD, "apns.background")}
        return set(self.state.keys()) - wake_ups

    def count(self, event: str) -> int:
        """Return a counter."""
        return int(self.state.counters()[f"{event}|{APP}|background|"])

    def ended(self, apns_id: str) -> dict[str, Any] | None:
        """Return how a tracked notification ended."""
        told = self.state.client.get(redis_keys.ended(SHARD, apns_id))
        return None if told is None else dict(json.loads(told.partition(b" ")[2]))
