"""Where nobody can say which server has the state, producers fail in time, and know that nothing was accepted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import redis

from dispatcher import EnqueueError, outbox
from dispatcher.dev.ports import HOST, free_port
from dispatcher.scripts import Clock
from dispatcher.state_server import AsyncStateServer, StateServer

TIMEOUT_S = 0.8
FORMS = ["redis+cluster://{},{},{}", "sentinel://{},{},{}/0?master=apns"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Return a port where connections are made, and nothing is ever said."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_silent", [False, True])
def test_producers_fail_in_time(silent_port: int, form: str, *, is_silent: bool) -> None:
    """Refused or silent, all who could say where the state is cost no more than one call may."""
    port = silent_port if is_silent else free_port()
    state = StateServer(form.format(*[f"{HOST}:{port}"] * 3), clock=Clock.SERVER, timeout_s=TIMEOUT_S)
    began = time.monotonic()
    with pytest.raises(EnqueueError, match="NoServerError") as caught:
        state.run(outbox.time())
    state.close()
    assert time.monotonic() - began < TIMEOUT_S
    assert caught.value.certainly_not_accepted


@pytest.mark.parametrize("form", FORMS)
def test_workers_try_again_for_a_while(form: str) -> None:
    """A worker goes on asking until its patience ends, and then says what was the matter."""

    async def ask() -> None:
        state = AsyncStateServer(form.format(*[f"{HOST}:{free_port()}"] * 3), clock=Clock.SERVER, patience_s=0.5)
        with pytest.raises(redis.ConnectionError, match="nobody who was asked knows"):
            await state.run(outbox.time())

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began >= 0.5
