"""Put batches into the outbox, and their messages on the queues."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dispatcher import idempotency, outbox, record, refusals, routing, sweeping
from dispatcher.admission import Admission
from dispatcher.bulk import Tally
from dispatcher.idempotency import Identity
from dispatcher.messages import Publisher
from dispatcher.notification import BatchReceipt, Receipt
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES
from dispatcher.record import Record
from dispatcher.sealing import Sealing, batch_place
from dispatcher.sweeping import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The way of notifications that do not collapse.

    Attributes:
        admission: The way into the state server.
        publisher: Where messages go.
        sealing: How records are sealed.
    """

    admission: Admission
    publisher: Publisher
    sealing: Sealing

    def send(self, accepted: Record, identity: Identity | None) -> Receipt:
        """Accept one notification; see `Dispatcher.send`."""
        lane = PUSH_TYPES[accepted.push_type].lane
        batch_id = idempotency.batch_id(identity, accepted.app, 0)
        queue = routing.single_queue(lane)
        acceptance = self._put(batch_id, accepted, queue, identity)
        if acceptance is Acceptance.REPEATED:
            return Receipt(apns_id=batch_id, lane=lane, repeated=True)
        return Receipt(apns_id=batch_id, lane=lane, queued=self._publish(batch_id, accepted, queue, acceptance))

    def send_chunk(self, chunk: Record, tally: Tally, identity: Identity | None, number: int) -> None:
        """Accept the n-th chunk of a bulk call; see `Dispatcher.send_many`."""
        queue, size = routing.bulk_queue(PUSH_TYPES[chunk.push_type].lane), len(chunk.device_tokens)
        batch_id = idempotency.batch_id(identity, chunk.app, number)
        acceptance = self._put(batch_id, chunk, queue, identity)
        if acceptance is Acceptance.REPEATED:
            return tally.add(BatchReceipt(batch_id=batch_id, count=size), repeated=size)
        queued = self._publish(batch_id, chunk, queue, acceptance)
        return tally.add(BatchReceipt(batch_id=batch_id, count=size, queued=queued))

    def _put(self, batch_id: str, batch: Record, queue: str, identity: Identity | None) -> Acceptance:
        push_type = PUSH_TYPES[batch.push_type]
        put = partial(
            outbox.put,
            batch_id,
            record.encode(batch, batch_place(batch_id), self.sealing),
            app=batch.app,
            lane=push_type.lane,
            queue=queue,
            count=len(batch.device_tokens),
            times=outbox.times_of(batch),
            **idempotency.remembered(identity, batch),
        )
        acceptance = self.admission.run(lambda guard: put(guard=guard), apns_ids=[batch_id])
        refusals.check(acceptance, push_type, identity)
        return acceptance

    def _publish(self, batch_id: str, batch: Record, queue: str, acceptance: Acceptance) -> bool:
        """Publish what is not to be sent later; False when the broker did not take it."""
        summary = sweeping.summary(batch.app, len(batch.device_tokens))
        message = Message(queue=queue, batch_id=batch_id, summary=summary)
        return acceptance is Acceptance.SCHEDULED or self.publisher.publish(message)
