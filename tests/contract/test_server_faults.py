"""A connection on which Apple fails is not used for the next try, and a key's connections end when it is changed."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import Script, SeenRequest, ServerConnection, accept, keep_silent
from workers.transport.member import WORN_AFTER_S

FAULT = b'{"reason":"InternalServerError"}'


def failing_on(first: int) -> Script:
    """Return a script that fails on the first connection from its n-th request on, and accepts all else."""

    def answer(connection: ServerConnection, seen: SeenRequest) -> None:
        if connection.number == 0 and seen.stream_id >= 2 * first - 1:
            connection.answer(seen.stream_id, 500, FAULT)
        else:
            accept(connection, seen)

    return Script(on_request=answer)


@pytest.mark.parametrize("first", [1, 2])
async def test_a_faulty_connection_is_replaced(stage: Stage, first: int) -> None:
    """After a 500 the next push goes over another connection at once: a fault repeats on the one it came from."""
    async with stage.server(failing_on(first)) as server, stage.transport(server.url) as transport:
        for _ in range(first - 1):
            assert (await transport.send(push())).is_accepted
        stage.clock.now += WORN_AFTER_S
        assert (await transport.send(push())).status == 500
        assert (await transport.send(push())).is_accepted
        assert [seen.connection for seen in server.requests] == [0] * first + [1]


async def test_a_young_connection_that_works_is_kept(stage: Stage) -> None:
    """A 500 on a connection that has just taken other pushes is the push's own: no reconnecting for it."""
    async with stage.server(failing_on(2)) as server, stage.transport(server.url) as transport:
        assert (await transport.send(push())).is_accepted
        assert [(await transport.send(push())).status for _ in range(3)] == [500] * 3
        assert {seen.connection for seen in server.requests} == {0}


async def test_a_changed_keys_connections_are_drained(stage: Stage) -> None:
    """What is in flight is answered, what follows goes over a new connection; other keys keep theirs."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        assert (await transport.send(push())).is_accepted
        assert (await transport.send(push(key_id="KEYID67890"))).is_accepted
        server.script.on_request = keep_silent
        sending = asyncio.create_task(transport.send(push()))
        await until(lambda: len(server.requests) == 3)
        transport.drain("KEYID12345")
        server.script.on_request = accept
        assert (await transport.send(push())).is_accepted
        assert (await transport.send(push(key_id="KEYID67890"))).is_accepted
        assert [seen.connection for seen in server.requests] == [0, 1, 0, 2, 1]
        server.connections[0].answer(server.requests[2].stream_id, 200)
        assert (await sending).is_accepted
        await until(lambda: not server.connections[0].is_open)
