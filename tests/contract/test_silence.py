"""A push without an answer ends, in time, and says truly whether it may have been sent."""

from __future__ import annotations

import asyncio
import time

import pytest
from h2.errors import ErrorCodes

from dispatcher.errors import TransportError
from tests.contract.conftest import ObservableTransport, Stage, push, until
from tests.contract.scripted_server import Script, ScriptedServer, SeenRequest, ServerConnection, keep_silent


async def warm_up(server: ScriptedServer, transport: ObservableTransport) -> None:
    """Prove the connection with one push, then let the server fall silent."""
    assert (await transport.send(push())).is_accepted
    server.script.on_request = keep_silent
    server.requests.clear()


async def fate(sending: asyncio.Task[object]) -> bool:
    """Return what the TransportError of a push says: may it have been sent?"""
    with pytest.raises(TransportError) as caught:
        await sending
    return caught.value.maybe_sent


async def sends(
    transport: ObservableTransport, server: ScriptedServer, count: int, **changes: object
) -> list[asyncio.Task[object]]:
    """Start pushes and wait until the server has them all."""
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(transport.send(push(**changes))) for _ in range(count)]
    await until(lambda: len(server.requests) == count)
    return tasks


async def test_deadline_ends_the_push_and_the_connection(stage: Stage) -> None:
    """A push never answered ends at its deadline as maybe sent; the next one goes another way."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        started = time.monotonic()
        with pytest.raises(TransportError) as caught:
            await transport.send(push(deadline_s=0.1))
        assert 0.09 < time.monotonic() - started < 1.0
        assert caught.value.maybe_sent
        server.script = Script()
        assert (await transport.send(push())).is_accepted
        await until(lambda: not server.connections[0].is_open)
        assert [seen.connection for seen in server.requests] == [0, 1]


async def test_neighbours_of_a_missed_deadline_are_still_answered(stage: Stage) -> None:
    """A missed deadline retires the connection, and an answer to another push on it still arrives."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        (patient,) = await sends(transport, server, 1)
        with pytest.raises(TransportError):
            await transport.send(push(deadline_s=0.05))
        assert [(info.retired, info.in_flight) for info in transport.connections()] == [(True, 1)]
        server.connections[0].answer(server.requests[0].stream_id, 200)
        await patient
        await until(lambda: transport.connections() == [])


async def test_late_answer_is_ignored(stage: Stage) -> None:
    """An answer after the deadline harms nobody."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        (patient,) = await sends(transport, server, 1)
        with pytest.raises(TransportError):
            await transport.send(push(deadline_s=0.05))
        server.connections[0].answer(server.requests[1].stream_id, 400, b'{"reason":"BadTopic"}')
        server.connections[0].answer(server.requests[0].stream_id, 200)
        await patient


async def test_first_push_without_an_answer_pauses_the_pool(stage: Stage) -> None:
    """When a fresh connection answers nothing, what waits behind its first push ends unsent, not one by one."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        first, *others = [asyncio.create_task(transport.send(push(deadline_s=0.1))) for _ in range(5)]
        assert [await fate(other) for other in others] == [False] * 4
        assert await fate(first)
        await until(lambda: len(server.requests) == 1)


@pytest.mark.parametrize(
    ("error_code", "maybe_sent"),
    [(ErrorCodes.REFUSED_STREAM, False), (ErrorCodes.INTERNAL_ERROR, True), (ErrorCodes.NO_ERROR, True)],
)
async def test_reset_stream_ends_its_push(stage: Stage, error_code: ErrorCodes, maybe_sent: bool) -> None:  # noqa: FBT001
    """A reset stream ends its push at once; only REFUSED_STREAM promises that it was not processed."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        (sending,) = await sends(transport, server, 1)
        server.connections[0].reset(server.requests[0].stream_id, error_code)
        assert await fate(sending) is maybe_sent
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
    """GOAWAY ends at once, unsent, what is above its stream; what is below may be answered; new pushes go elsewhere."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        below, above, *beyond = await sends(transport, server, 4)
        connection, streams = server.connections[0], [seen.stream_id for seen in server.requests]
        connection.go_away(2**31 - 1)  # a graceful server announces the end first
        connection.go_away(streams[0], b'{"reason":"Shutdown"}')
        assert [await fate(sending) for sending in (above, *beyond)] == [False, False, False]
        server.script = Script()
        assert await transport.send(push())
        assert server.requests[-1].connection == 1
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


@pytest.mark.parametrize("raw", [b"", b"\x00\x00\x01\x04\x00\x00\x00\x00\x00?"])
async def test_lost_connection_ends_its_pushes(stage: Stage, raw: bytes) -> None:
    """A connection closed without a word, or broken by a malformed frame, ends its pushes at once as maybe sent."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        sending = await sends(transport, server, 3)
        server.script = Script()
        if raw:
            server.connections[0].write(raw)
        else:
            server.connections[0].abort()
        assert [await fate(task) for task in sending] == [True] * 3
        assert (await transport.send(push())).is_accepted
        assert len(server.connections) == 2


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
