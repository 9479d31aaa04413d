"""The second try that follows at once names the connection that failed the first; no other try does."""

from __future__ import annotations

import pytest

from dispatcher.errors import TransportError
from dispatcher.push_types import PUSH_TYPES
from tests.conductor.conftest import Bench, device_tokens, make_record
from tests.conductor.scripted_transport import ACCEPTED, UNREGISTERED, Reply
from workers.transport.port import ApnsAnswer

FAILED = 7
SILENCE = TransportError("no answer within the deadline", maybe_sent=True, carried_by=FAILED)
HANDED_BACK = TransportError("stream reset: REFUSED_STREAM", maybe_sent=False, carried_by=FAILED)
UNREACHED = TransportError("cannot connect", maybe_sent=False)
LEAVING = ApnsAnswer(status=503, reason="Shutdown", carried_by=FAILED)
FAULT = ApnsAnswer(status=500, reason="InternalServerError", carried_by=FAILED)


@pytest.mark.parametrize(
    ("push_type", "reply", "avoid"),
    [
        ("voip", SILENCE, FAILED),
        ("voip", HANDED_BACK, FAILED),
        ("voip", LEAVING, FAILED),
        ("voip", FAULT, FAILED),
        ("voip", UNREACHED, None),
        ("alert", HANDED_BACK, FAILED),
    ],
    ids=["silence", "handed back", "leaving", "fault", "unreached", "alert handed back"],
)
async def test_the_second_try_names_the_connection_to_avoid(
    bench: Bench, push_type: str, reply: Reply, avoid: int | None
) -> None:
    """What is tried again at once says which connection failed it, if one carried it."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(1), reply, ACCEPTED)
    lane = PUSH_TYPES[push_type].lane
    batch_id = await bench.put(make_record(push_type=push_type, expires_in=30.0), lane=lane)
    assert await worker.deliver(batch_id, lane=lane) == "sent 1"
    assert [request.avoid for request in worker.transport.requests] == [None, avoid]


async def test_a_later_try_avoids_nothing(bench: Bench) -> None:
    """What waited for its next try may be sent by any process, to which the number would mean nothing."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(1), SILENCE, UNREGISTERED)
    batch_id = await bench.put(make_record())
    assert await worker.deliver(batch_id) == "retry 1"
    bench.advance(60)
    assert await bench.sweep() == [batch_id]
    assert await worker.deliver(batch_id) == "unregistered 1"
    assert [request.avoid for request in worker.transport.requests] == [None, None]
