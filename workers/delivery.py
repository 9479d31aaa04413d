"""The conductor: what a worker does with one message.

A message names a batch, or wakes for the due slots of an app and shard. Either is claimed, sent notification by
notification, noted down while answers come in, and settled. Whatever this process does not finish, another one takes up
when the lease ends.
"""

from __future__ import annotations

from dispatcher import ids, routing
from dispatcher.errors import MessageError
from dispatcher.push_types import Lane
from workers.batch_delivery import deliver_batch
from workers.edges import Edges
from workers.slot_delivery import deliver_slots


async def deliver(batch_id: str, *, lane: Lane, queue: str, edges: Edges) -> str:
    """Do what a message says; returns the short result that Flower shows.

    Raises:
        MessageError: It names neither a batch nor a wake-up.
    """
    wake_up = routing.parse_wake_up(batch_id)
    if wake_up is not None:
        return await deliver_slots(*wake_up, edges)
    if not ids.is_canonical(batch_id):
        raise MessageError("the message names no batch")
    return await deliver_batch(batch_id, lane, queue, edges)
