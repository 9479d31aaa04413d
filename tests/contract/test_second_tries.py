"""A push that names the connection which failed it goes over another, where there can be one, and holds up nobody."""

from __future__ import annotations

import asyncio
import time

import pytest

from dispatcher.errors import TransportError
from tests.contract.conftest import ObservableTransport, Stage, push, until
from tests.contract.scripted_server import ScriptedServer, SeenRequest, ServerConnection, accept, keep_silent
from tests.contract.silences import fate, warm_up
from workers.transport import waiting
from workers.transport.port import ApnsAnswer, GateClosedError


async def failing_connection(server: ScriptedServer, transport: ObservableTransport) -> int:
    """Let one push end in silence on the first connection, which goes on; return what the error calls it."""
    await warm_up(server, transport)
    with pytest.raises(TransportError) as caught:
        await transport.send(push(deadline_s=0.05))
    server.script.on_request = accept
    server.requests.clear()
    assert caught.value.carried_by is not None
    return caught.value.carried_by


def connections_of(server: ScriptedServer) -> list[int]:
    """Return which connection each push came over, in order."""
    return [seen.connection for seen in server.requests]


async def test_second_try_after_silence_goes_over_another_connection(stage: Stage) -> None:
    """The connection that failed a push is open and has room: others go on using it, the second try does not."""
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        failed = await failing_connection(server, transport)
        assert (await transport.send(push(avoid=failed))).is_accepted
        assert (await transport.send(push())).is_accepted
        assert (await transport.send(push(avoid=failed))).is_accepted
        assert connections_of(server) == [1, 0, 1]


@pytest.mark.parametrize("status", [500, 503])
async def test_refused_push_says_where_it_was_refused(stage: Stage, status: int) -> None:
    """After a 5xx the second try goes over another connection, though the first was young and is kept."""

    def fail_once(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.answer(seen.stream_id, status)
        server.script.on_request = accept

    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        assert (await transport.send(push())).carried_by is None
        server.script.on_request = fail_once
        answer = await transport.send(push())
        assert answer == ApnsAnswer(status=status)
        assert (await transport.send(push(avoid=answer.carried_by))).is_accepted
        assert connections_of(server) == [0, 0, 1]
        assert server.connections[0].is_open


async def test_second_try_uses_the_only_connection_allowed(stage: Stage) -> None:
    """Where one connection is allowed, the second try goes there, at once."""
    async with stage.server() as server, stage.transport(server.url, max_connections=1) as transport:
        failed = await failing_connection(server, transport)
        async with asyncio.timeout(waiting.ELSEWHERE_S / 2):
            assert (await transport.send(push(avoid=failed))).is_accepted
        assert connections_of(server) == [0]


async def test_second_try_uses_the_failed_connection_when_no_other_can_be_opened(stage: Stage) -> None:
    """When the attempt to open another fails, the second try goes where it can, at once."""
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        failed = await failing_connection(server, transport)
        server.stop_listening()
        async with asyncio.timeout(waiting.ELSEWHERE_S / 2):
            assert (await transport.send(push(avoid=failed))).is_accepted
        assert connections_of(server) == [0]


async def test_push_that_no_connection_carried_names_none(stage: Stage) -> None:
    """A push that ended before there was a connection leaves none to avoid."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        server.stop_listening()
        with pytest.raises(TransportError) as caught:
            await transport.send(push())
        assert caught.value.carried_by is None


async def test_second_try_holds_up_no_other_push(stage: Stage) -> None:
    """While another connection is opened for a second try, what came after it goes over the first."""
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        failed = await failing_connection(server, transport)
        second = asyncio.create_task(transport.send(push(avoid=failed)))
        await asyncio.gather(*(transport.send(push()) for _ in range(5)))
        assert (await second).is_accepted
        assert connections_of(server) == [0] * 5 + [1]


async def test_second_try_waits_for_another_connection_no_longer_than_a_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the other connection, still unproven, answers nothing, the next second try goes over the failed one."""
    monkeypatch.setattr(waiting, "ELSEWHERE_S", 0.1)
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        first, second = await second_tries_behind_one(server, transport)
        started = time.monotonic()
        await until(lambda: len(server.requests) == 2)
        assert 0.05 < time.monotonic() - started < 1.0
        assert connections_of(server) == [1, 0]
        for seen in server.requests:
            server.connections[seen.connection].answer(seen.stream_id, 200)
        await asyncio.gather(first, second)


async def test_gate_of_a_waiting_second_try_is_asked(stage: Stage) -> None:
    """A second try that waits for a connection ends soon after its gate closes, without being sent."""
    is_open = True
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        in_flight, waits = await second_tries_behind_one(server, transport, may_open=lambda: is_open)
        await asyncio.sleep(0)
        is_open = False
        async with asyncio.timeout(1.0):
            with pytest.raises(GateClosedError):
                await waits
        assert connections_of(server) == [1]
        server.connections[1].answer(server.requests[0].stream_id, 200)
        await in_flight


async def test_waiting_second_try_whose_caller_left_is_not_sent(stage: Stage) -> None:
    """A second try cancelled while it waits for a connection never leaves."""
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        in_flight, leaves = await second_tries_behind_one(server, transport)
        await asyncio.sleep(0)
        leaves.cancel()
        server.script.on_request = accept
        server.connections[1].answer(server.requests[0].stream_id, 200)
        await in_flight
        assert (await transport.send(push())).is_accepted
        assert connections_of(server) == [1, 0]


async def test_closing_ends_waiting_second_tries(stage: Stage) -> None:
    """A second try that waits for a connection ends unsent when the transport closes."""
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        in_flight, waits = await second_tries_behind_one(server, transport)
        await transport.close()
        assert [await fate(in_flight), await fate(waits)] == [True, False]


async def test_second_try_that_is_handed_back_still_avoids_the_first_connection(stage: Stage) -> None:
    """When the other connection goes away without having processed it, it goes over a third."""

    def leave(connection: ServerConnection, seen: SeenRequest) -> None:
        server.script.on_request = accept
        connection.go_away(seen.stream_id - 2)

    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        failed = await failing_connection(server, transport)
        assert (await transport.send(push(avoid=failed))).is_accepted
        server.script.on_request = leave
        assert (await transport.send(push(avoid=failed))).is_accepted
        assert connections_of(server) == [1, 1, 2]


async def second_tries_behind_one(
    server: ScriptedServer, transport: ObservableTransport, **changes: object
) -> tuple[asyncio.Task[object], asyncio.Task[object]]:
    """Start two second tries; the first is in flight, unanswered, on a new connection that takes one push at a time."""
    failed = await failing_connection(server, transport)
    server.script.on_request = keep_silent
    first: asyncio.Task[object] = asyncio.create_task(transport.send(push(avoid=failed)))
    await until(lambda: connections_of(server) == [1])
    second: asyncio.Task[object] = asyncio.create_task(transport.send(push(avoid=failed, **changes)))
    return first, second
