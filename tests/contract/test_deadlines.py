"""Every deadline is kept, whatever the order they come in, and one that is met leaves nothing behind."""

from __future__ import annotations

import asyncio

from tests.contract.conftest import until
from workers.transport.deadlines import FEW, Deadlines


async def test_each_push_misses_its_own_deadline_once() -> None:
    """A later push with an earlier deadline ends first; one that was answered is not heard of."""
    loop = asyncio.get_running_loop()
    missed: list[tuple[int, float]] = []
    pushes = {1, 3, 5, 7}

    def miss(stream_id: int) -> None:
        pushes.discard(stream_id)
        missed.append((stream_id, loop.time()))

    deadlines = Deadlines(loop, pushes, miss)
    start = loop.time()
    for stream_id, delay_s in ((1, 0.15), (3, 0.05), (5, 0.1), (7, 0.01)):
        deadlines.add(stream_id, start + delay_s)
    pushes.discard(5)
    await until(lambda: len(missed) == 3)
    assert [stream_id for stream_id, _ in missed] == [7, 3, 1]
    assert all(at >= start + delay_s for (_, at), delay_s in zip(missed, (0.01, 0.05, 0.15), strict=True))


async def test_push_added_after_all_others_have_ended_is_watched() -> None:
    """The watch starts again when there is something to watch again."""
    loop = asyncio.get_running_loop()
    missed: list[int] = []
    pushes = {1, 3}
    deadlines = Deadlines(loop, pushes, missed.append)
    deadlines.add(1, loop.time())
    await until(lambda: missed == [1])
    deadlines.add(3, loop.time())
    await until(lambda: missed == [1, 3])


async def test_one_unanswered_push_does_not_pile_up_the_answered_ones() -> None:
    """Entries of pushes that have ended are dropped while the oldest is still open; its deadline holds."""
    loop = asyncio.get_running_loop()
    missed: list[int] = []
    pushes = {1}
    deadlines = Deadlines(loop, pushes, missed.append)
    deadlines.add(1, loop.time() + 0.2)
    for stream_id in range(3, 200_001, 2):
        deadlines.add(stream_id, loop.time() + 10)
        assert len(deadlines) <= FEW + 3
    await until(lambda: missed == [1])


async def test_nothing_is_heard_after_the_end() -> None:
    """Once stopped, no deadline is missed any more."""
    loop = asyncio.get_running_loop()
    missed: list[int] = []
    deadlines = Deadlines(loop, {1}, missed.append)
    deadlines.add(1, loop.time() + 0.01)
    deadlines.stop()
    waited_until = loop.time() + 0.05
    await until(lambda: loop.time() > waited_until)
    assert missed == []
