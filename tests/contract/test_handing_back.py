"""A push that APNs certainly has not processed is sent again by the transport, within reason; any other never is."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from dispatcher.errors import TransportError
from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import Script, SeenRequest, ServerConnection, accept, keep_silent
from workers.transport.connections import MOST_TRIES
from workers.transport.port import GateClosedError


async def test_connection_that_refuses_streams_is_replaced(stage: Stage) -> None:
    """REFUSED_STREAM on a connection far from its limit means that it is worn out; the push goes elsewhere."""

    def wear_out(connection: ServerConnection, seen: SeenRequest) -> None:
        if connection.number == 0 and seen.stream_id > 1:
            connection.reset(seen.stream_id, ErrorCodes.REFUSED_STREAM)
        else:
            accept(connection, seen)

    async with stage.server(Script(on_request=wear_out)) as server, stage.transport(server.url) as transport:
        for _ in range(3):
            assert (await transport.send(push())).is_accepted
        assert [seen.connection for seen in server.requests] == [0, 0, 1, 1]


async def test_streams_refused_above_a_new_limit_follow_on_the_same_connection(stage: Stage) -> None:
    """When APNs lowers the limit and refuses what is above, these pushes wait for room there: no reconnecting."""
    async with stage.server() as server, stage.transport(server.url, max_connections=2) as transport:
        await transport.send(push())
        server.script.on_request = keep_silent
        sending = [asyncio.create_task(transport.send(push(payload=b"%d" % number))) for number in range(6)]
        await until(lambda: len(server.requests) == 7)
        connection, streams = server.connections[0], [seen.stream_id for seen in server.requests[1:]]
        server.script.on_request = accept
        connection.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        for stream_id in streams[1:]:
            connection.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        connection.answer(streams[0], 200)
        assert {answer.status for answer in await asyncio.gather(*sending)} == {200}
        assert [seen.body for seen in server.requests[7:]] == [b"%d" % number for number in range(1, 6)]
        assert len(server.connections) == 1


async def test_push_refused_again_and_again_is_given_up(stage: Stage) -> None:
    """After a few streams that were all refused, a push ends as not sent."""

    def refuse(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.reset(seen.stream_id, ErrorCodes.REFUSED_STREAM)

    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        server.script.on_request = keep_silent
        others = [asyncio.create_task(transport.send(push())) for _ in range(2)]
        await until(lambda: len(server.requests) == 3)
        server.connections[0].settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        server.script.on_request = refuse
        sending = asyncio.create_task(transport.send(push()))
        for seen in server.requests[1:3]:
            server.connections[0].answer(seen.stream_id, 200)
        with pytest.raises(TransportError, match="REFUSED_STREAM") as caught:
            await sending
        assert not caught.value.maybe_sent
        assert len(server.requests) <= 3 + MOST_TRIES
        await asyncio.gather(*others)


async def test_gate_is_asked_again_before_a_push_goes_elsewhere(stage: Stage) -> None:
    """A call that was cancelled while its first connection went away never leaves on the next."""
    is_open = True
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        server.script.on_request = keep_silent
        sending = asyncio.create_task(transport.send(push(may_open=lambda: is_open)))
        await until(lambda: len(server.requests) == 2)
        is_open = False
        server.connections[0].go_away(1)
        with pytest.raises(GateClosedError):
            await sending
        assert len(server.requests) == 2


async def test_push_whose_caller_left_is_not_sent_again(stage: Stage) -> None:
    """A push that was handed back after its caller had left stays unsent."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        server.script.on_request = keep_silent
        leaving, staying = (asyncio.create_task(transport.send(push(payload=name))) for name in (b"leaves", b"stays"))
        await until(lambda: len(server.requests) == 3)
        leaving.cancel()
        server.script.on_request = accept
        server.connections[0].go_away(1)
        assert (await staying).is_accepted
        assert [seen.body for seen in server.requests[3:]] == [b"stays"]


async def test_answer_that_has_begun_is_not_asked_for_again(stage: Stage) -> None:
    """A push with a status is answered, even when GOAWAY disclaims its stream afterwards."""

    def begin_and_leave(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.h2.send_headers(seen.stream_id, [(":status", "410")])
        connection.flush()
        connection.go_away(seen.stream_id - 2)

    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        server.script.on_request = begin_and_leave
        assert (await transport.send(push())).status == 410
        assert len(server.requests) == 2
