"""A worker asks the state server for every task in flight at once."""

from __future__ import annotations

import asyncio

from dispatcher import outbox
from dispatcher.scripts import Clock
from dispatcher.state_server import AsyncStateServer


async def test_as_many_questions_as_tasks(state_url: str) -> None:
    """Two hundred calls in flight, as many as a worker of calls has tasks, are asked and answered side by side."""
    state = AsyncStateServer(state_url, clock=Clock.SHIFTED, patience_s=0.0)
    try:
        times = await asyncio.gather(*(state.run(outbox.time()) for _ in range(200)))
    finally:
        await state.close()
    assert len(times) == 200
