"""Put notifications that collapse into their devices' slots, and wake workers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dispatcher import idempotency, ids, outbox, record, refusals, routing, slots
from dispatcher.admission import Admission
from dispatcher.bulk import Tally
from dispatcher.guard import Guard
from dispatcher.idempotency import Identity
from dispatcher.messages import Publisher
from dispatcher.notification import BatchReceipt, Receipt
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES
from dispatcher.record import Record
from dispatcher.sealing import Sealing, slot_place
from dispatcher.settings import App
from dispatcher.slot_values import Released, SlotPut, terms_of
from dispatcher.state_call import StateCall
from dispatcher.state_server import StateServer

MakePut = Callable[[Guard], StateCall[SlotPut]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Single:
    """One notification and its device's digest."""

    record: Record
    device: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapsing:
    """The way of notifications of which only the newest waits.

    Attributes:
        state: The state server.
        admission: The way into it.
        publisher: Where messages go.
        apps: By bundle id.
        sealing: How records are sealed.
    """

    state: StateServer
    admission: Admission
    publisher: Publisher
    apps: Mapping[str, App]
    sealing: Sealing

    def send(self, accepted: Record, identity: Identity | None, *, hold_for: float) -> Receipt:
        """Accept one notification; see `Dispatcher.send`."""
        single = _Single(record=accepted, device=slots.device_of(accepted))
        shard = ids.shard_of_device(single.device)
        apns_id = idempotency.batch_id(identity, accepted.app, 0, shard=shard)
        self._reserve(accepted, identity, 0, but_in=shard, apns_ids=[apns_id])
        put = self.admission.run(self._put(single, apns_id, identity, hold_for=hold_for), apns_ids=[apns_id])
        refusals.check(put.acceptance, PUSH_TYPES[accepted.push_type], identity)
        lane = PUSH_TYPES[accepted.push_type].lane
        if put.acceptance is Acceptance.REPEATED:
            return Receipt(apns_id=apns_id, lane=lane, repeated=True)
        queued = not put.wake_up or self._wake(accepted.app, shard)
        return Receipt(apns_id=apns_id, lane=lane, queued=queued, replaced=put.replaced, superseded=put.superseded)

    def send_chunk(
        self, chunk: Record, tally: Tally, identity: Identity | None, number: int, *, hold_for: float
    ) -> None:
        """Accept the n-th chunk of a bulk call; see `Dispatcher.send_many`."""
        self._reserve(chunk, identity, number)
        for shard, group in _by_shard(chunk):
            # A place of its own: the chunk's own id is the reservation's.
            batch_id = idempotency.batch_id(identity, chunk.app, number, shard, shard=shard)
            calls = [
                self._put(single, ids.apns_id_of(batch_id, index), identity, hold_for=hold_for)
                for index, single in enumerate(group)
            ]
            puts = self.admission.run_all(calls, apns_ids=[batch_id])
            for put in puts:
                refusals.check(put.acceptance, PUSH_TYPES[chunk.push_type], identity)
            queued = self._wake(chunk.app, shard) if any(put.wake_up for put in puts) else True
            tally.add(
                BatchReceipt(batch_id=batch_id, count=len(group), queued=queued),
                replaced=sum(put.replaced for put in puts),
                repeated=sum(put.acceptance is Acceptance.REPEATED for put in puts),
            )

    def device_online(self, update: Record, *, fetched: bool) -> Released:
        """Release what is held for the device that an update would go to; see `Dispatcher.device_online`."""
        device = slots.device_of(update)
        shard = ids.shard_of_device(device)
        found = self.state.run(slots.device_online(shard, device.hex(), app=update.app, fetched=fetched))
        if found.wake_up:
            self._wake(update.app, shard)
        return found.released

    def _put(self, single: _Single, apns_id: str, identity: Identity | None, *, hold_for: float) -> MakePut:
        app, shard, device = single.record.app, ids.shard_of_device(single.device), single.device.hex()
        put = partial(
            slots.put,
            shard,
            device,
            apns_id,
            record.encode(single.record, slot_place(shard, device, apns_id), self.sealing),
            app=app,
            terms=terms_of(single.record, spacing_s=self.apps[app].background_spacing_s, hold_for=hold_for),
            **idempotency.remembered(identity, single.record),
        )
        return lambda guard: put(guard=guard)

    def _wake(self, app: str, shard: int) -> bool:
        return self.publisher.publish(slots.wake_up_message(routing.wake_up_id(app, shard)))

    def _reserve(
        self,
        accepted: Record,
        identity: Identity | None,
        number: int,
        *,
        but_in: int | None = None,
        apns_ids: Sequence[str] = (),
    ) -> None:
        """Promise a caller's id or key to this content in the id's own shard, unless the slot is there too."""
        if identity is None or ids.shard_of(reserved := identity.batch_id(accepted.app, number)) == but_in:
            return
        times, remembered = outbox.times_of(accepted), idempotency.remembered(identity, accepted)
        reserve = partial(outbox.reserve, reserved, times=times, **remembered)
        acceptance = self.admission.run(lambda guard: reserve(guard=guard), apns_ids=apns_ids)
        refusals.check(acceptance, PUSH_TYPES[accepted.push_type], identity)


def _by_shard(chunk: Record) -> Iterator[tuple[int, list[_Single]]]:
    groups: dict[int, list[_Single]] = {}
    for device_token in chunk.device_tokens:
        single = replace(chunk, device_tokens=(device_token,))
        device = slots.device_of(single)
        groups.setdefault(ids.shard_of_device(device), []).append(_Single(record=single, device=device))
    yield from groups.items()
