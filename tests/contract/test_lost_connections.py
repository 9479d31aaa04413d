"""A connection that breaks or ends takes no push with it unnoticed, and none is sent again that may have arrived."""

from __future__ import annotations

import asyncio

import pytest
from h2.settings import SettingCodes

from dispatcher.errors import TransportError
from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import Script
from tests.contract.silences import fate, sends, warm_up


async def test_incomplete_push_of_a_lost_connection_goes_elsewhere(stage: Stage) -> None:
    """A request whose end was never sent cannot have been processed: it is sent again on another connection."""
    script = Script(settings={SettingCodes.INITIAL_WINDOW_SIZE: 100}, gives_credit=False)
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        await transport.send(push())
        sending = asyncio.create_task(transport.send(push(payload=b"x" * 200)))
        await until(lambda: len(server.requests) == 2)
        script.gives_credit, script.settings = True, {}
        server.connections[0].abort()
        assert (await sending).is_accepted
        assert [(seen.connection, seen.is_whole) for seen in server.requests[1:]] == [(0, False), (1, True)]


@pytest.mark.beyond("aioapns", "h2 waits for the whole of a frame before it finds it too long")
async def test_bytes_that_are_no_http2_are_noticed_at_once(stage: Stage) -> None:
    """A server that falls into another protocol ends its pushes when it does, not at their deadlines."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await warm_up(server, transport)
        sending = await sends(transport, server, 3)
        server.connections[0].write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        async with asyncio.timeout(0.5):
            ends = await asyncio.gather(*sending, return_exceptions=True)
        assert [isinstance(end, TransportError) and end.maybe_sent for end in ends] == [True] * 3


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
