"""What the tests of silence share: pushes in flight, and what they end with."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.errors import TransportError
from tests.contract.conftest import ObservableTransport, push, until
from tests.contract.scripted_server import ScriptedServer, keep_silent


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
