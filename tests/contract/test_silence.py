"""A push without an answer ends, in time, and says truly whether it may have been sent."""

from __future__ import annotations

import asyncio
import time

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from dispatcher.errors import TransportError
from tests.contract.behaviours import plain_answer
from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import (
    Script,
    SeenRequest,
    ServerConnection,
    keep_silent,
)
from tests.contract.silences import fate, sends, warm_up
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.port import ApnsAnswer


async def test_deadline_ends_the_push_and_not_the_connection(stage: Stage) -> None:
    """A push never answered ends at its deadline as maybe sent; one that answers a PING is trusted with the next."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        started = time.monotonic()
        with pytest.raises(TransportError) as caught:
            await transport.send(push(deadline_s=0.1))
        assert 0.09 < time.monotonic() - started < 1.0
        assert caught.value.maybe_sent
        server.script = Script()
        assert (await transport.send(push())).is_accepted
        assert [seen.connection for seen in server.requests] == [0, 0]
        assert server.connections[0].pings == 1


async def test_second_missed_deadline_in_a_row_ends_the_connection(stage: Stage) -> None:
    """A connection that answers PINGs and no pushes is left after two of them."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        for _ in range(2):
            assert await fate(asyncio.create_task(transport.send(push(deadline_s=0.05))))
        server.script = Script()
        assert (await transport.send(push())).is_accepted
        assert [seen.connection for seen in server.requests] == [0, 0, 1]
        await until(lambda: not server.connections[0].is_open)


async def test_answer_between_missed_deadlines_keeps_the_connection(stage: Stage) -> None:
    """Apple leaves single requests unanswered: with answers between them these cost no connection."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        for _ in range(3):
            await warm_up(server, transport)
            assert await fate(asyncio.create_task(transport.send(push(deadline_s=0.05))))
            server.script = Script()
        assert (await transport.send(push())).is_accepted
        assert len(server.connections) == 1


async def test_neighbours_of_a_missed_deadline_are_still_answered(stage: Stage) -> None:
    """A missed deadline and a PING without an answer retire the connection; its other pushes may still be answered."""
    times = KeepaliveTimes(pong_s=0.05)
    async with stage.server() as server, stage.transport(server.url, times=times) as transport:
        await warm_up(server, transport)
        (patient,) = await sends(transport, server, 1)
        server.connections[0].is_deaf = True
        with pytest.raises(TransportError):
            await transport.send(push(deadline_s=0.05))
        await until(lambda: [(info.retired, info.in_flight) for info in transport.connections()] == [(True, 1)])
        server.connections[0].write(plain_answer(server.requests[0].stream_id))
        await patient
        server.script = Script()
        assert (await transport.send(push())).is_accepted
        assert [info.retired for info in transport.connections() if not info.retired] == [False]


async def test_late_answer_is_ignored(stage: Stage) -> None:
    """An answer after the deadline harms nobody."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        (patient,) = await sends(transport, server, 1)
        with pytest.raises(TransportError):
            await transport.send(push(deadline_s=0.05))
        server.connections[0].write(plain_answer(server.requests[1].stream_id))
        server.connections[0].answer(server.requests[0].stream_id, 200)
        assert (await patient) == ApnsAnswer(status=200)
        assert len(server.connections) == 1


async def test_first_push_without_an_answer_pauses_the_pool(stage: Stage) -> None:
    """When a fresh connection answers nothing, what waits behind its first push ends unsent, not one by one."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        first, *others = [asyncio.create_task(transport.send(push(deadline_s=0.1))) for _ in range(5)]
        assert [await fate(other) for other in others] == [False] * 4
        assert await fate(first)
        await until(lambda: len(server.requests) == 1)


@pytest.mark.parametrize("error_code", [ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR])
async def test_reset_stream_ends_its_push(stage: Stage, error_code: ErrorCodes) -> None:
    """A reset stream ends its push at once as maybe sent."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        (sending,) = await sends(transport, server, 1)
        server.connections[0].reset(server.requests[0].stream_id, error_code)
        assert await fate(sending)
        server.script = Script()
        assert (await transport.send(push())).is_accepted


@pytest.mark.parametrize("end", ["reset", "lost", "deadline"])
async def test_answer_whose_body_is_cut_off_counts(stage: Stage, end: str) -> None:
    """Once the response headers are there, the status is the answer, however the body ends."""

    def cut_off(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.h2.send_headers(seen.stream_id, [(":status", "410")])
        connection.flush()
        if end == "reset":
            connection.reset(seen.stream_id, ErrorCodes.INTERNAL_ERROR)
        elif end == "lost":
            connection.hang_up()

    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        server.script.on_request = cut_off
        assert (await transport.send(push(deadline_s=0.2))).status == 410


async def test_unreadable_status_is_no_answer(stage: Stage) -> None:
    """A status that is no number ends the push as maybe sent."""
    script = Script(on_request=lambda connection, seen: connection.answer(seen.stream_id, "2x0"))
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        assert await fate(asyncio.create_task(transport.send(push())))


async def test_goaway_parts_the_pushes(stage: Stage) -> None:
    """What is above GOAWAY's stream goes elsewhere at once; what is below may still be answered."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        below, *above = await sends(transport, server, 4)
        connection, streams = server.connections[0], [seen.stream_id for seen in server.requests]
        server.script = Script()
        connection.go_away(2**31 - 1)  # a graceful server announces the end first
        connection.go_away(streams[0], b'{"reason":"Shutdown"}')
        assert await asyncio.gather(*above) == [ApnsAnswer(status=200)] * 3
        assert [seen.connection for seen in server.requests[4:]] == [1, 1, 1]
        assert connection.is_open
        connection.answer(streams[0], 200)
        await below
        await until(lambda: not connection.is_open)


async def test_push_below_goaway_keeps_its_deadline(stage: Stage) -> None:
    """A push that GOAWAY admits to and nobody answers ends at its deadline as maybe sent."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        (sending,) = await sends(transport, server, 1, deadline_s=0.2)
        server.connections[0].go_away(server.requests[0].stream_id)
        assert await fate(sending)
        await until(lambda: transport.connections() == [])


async def test_caller_that_leaves_harms_nobody(stage: Stage) -> None:
    """A cancelled `send` leaves the connection and the pushes on it as they were."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        leaving, staying = await sends(transport, server, 2)
        leaving.cancel()
        for seen in server.requests:
            server.connections[0].answer(seen.stream_id, 200)
        await staying
        assert leaving.cancelled()
        server.script = Script()
        assert (await transport.send(push())).is_accepted
        assert len(server.connections) == 1


async def test_closing_sends_nothing_again(stage: Stage) -> None:
    """A push whose payload is incomplete when the transport closes ends unsent; no connection is made for it."""
    script = Script(settings={SettingCodes.INITIAL_WINDOW_SIZE: 100}, gives_credit=False)
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        await transport.send(push())
        sending: asyncio.Task[object] = asyncio.create_task(transport.send(push(payload=b"x" * 200)))
        await until(lambda: len(server.requests) == 2)
        await transport.close()
        assert not await fate(sending)
        assert len(server.connections) == 1


async def test_closed_transport_sends_nothing(stage: Stage) -> None:
    """Closing ends what is in flight as maybe sent, what waits as not sent, and refuses what comes later."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        (in_flight,) = await sends(transport, server, 1)
        waiting: asyncio.Task[object] = asyncio.create_task(transport.send(push()))
        await asyncio.sleep(0)
        await transport.close()
        assert await fate(in_flight)
        assert not await fate(waiting)
        assert not await fate(asyncio.create_task(transport.send(push())))
        await until(lambda: not server.connections[0].is_open)
        assert len(server.requests) == 1
