"""Notes are written soon, in bunches, and none is forgotten while the state server is away."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.conductor.conftest import until
from workers.progress import Bunch, ProgressWriter


class Book:
    """Where notes are written; refuses as often as told.

    Attributes:
        bunches: What was written, in order.
        numbers: Of the bunches it was given, written or refused.
        refusals_left: How often it still refuses.
    """

    def __init__(self, *, refusals: int = 0) -> None:
        self.bunches: list[list[int]] = []
        self.numbers: list[int] = []
        self.refusals_left = refusals

    async def write(self, bunch: Bunch[int]) -> None:
        """Write a bunch.

        Raises:
            RedisConnectionError: It refuses.
        """
        await asyncio.sleep(0)
        self.numbers.append(bunch.number)
        if self.refusals_left:
            self.refusals_left -= 1
            raise RedisConnectionError
        self.bunches.append(bunch.notes)


async def test_notes_of_a_moment_are_written_together() -> None:
    """What is noted within the time a note may wait is one bunch, in order."""
    book = Book()
    async with ProgressWriter(book.write, every_s=0.05, every_notes=100) as writer:
        for number in range(10):
            writer.note(number)
        await until(lambda: book.bunches)
    assert book.bunches == [list(range(10))]
    assert writer.rest == []


async def test_many_notes_do_not_wait() -> None:
    """As soon as there are enough notes for a bunch they are written, however long a note may wait."""
    book = Book()
    async with ProgressWriter(book.write, every_s=3600, every_notes=3) as writer:
        for number in range(3):
            writer.note(number)
        await until(lambda: book.bunches)
    assert book.bunches == [[0, 1, 2]]


async def test_what_is_not_written_is_left_over() -> None:
    """Leaving does not wait: what has not been written is in `rest`, for settling."""
    book = Book()
    started = time.monotonic()
    async with ProgressWriter(book.write, every_s=3600, every_notes=100) as writer:
        writer.note(7)
    assert (book.bunches, writer.rest) == ([], [7])
    assert time.monotonic() - started < 1


async def test_a_refused_bunch_is_written_again_as_it_was() -> None:
    """What may have been written keeps its number until it is known to be; what comes meanwhile is written after it."""
    book = Book(refusals=3)
    async with ProgressWriter(book.write, every_s=0.01, every_notes=100) as writer:
        writer.note(0)
        await until(lambda: book.refusals_left < 3)
        writer.note(1)
        await until(lambda: len(book.bunches) == 2)
    assert book.bunches == [[0], [1]]
    assert book.numbers == [1, 1, 1, 1, 2]


async def test_what_was_refused_last_is_left_over() -> None:
    """Notes that could not be written before leaving are not lost, and whether they may have been is known."""
    book = Book(refusals=1000)
    async with ProgressWriter(book.write, every_s=0.01, every_notes=1) as writer:
        writer.note(0)
        await until(lambda: book.refusals_left < 1000)
        writer.note(1)
    assert (book.bunches, writer.rest) == ([], [1])
    assert writer.doubtful == Bunch(notes=[0], number=1)


async def test_quiet_times_are_written_too() -> None:
    """An empty bunch is written when nothing was noted for a while, so that a lease is renewed."""
    book = Book()
    async with ProgressWriter(book.write, every_s=0.01, every_notes=100, idle_write_s=0.02) as writer:
        await until(lambda: len(book.bunches) >= 2)
    assert book.bunches[:2] == [[], []]
    assert writer.rest == []


async def test_without_such_a_time_nothing_empty_is_written() -> None:
    """A writer that renews nothing writes only notes."""
    book = Book()
    async with ProgressWriter(book.write, every_s=0.001, every_notes=1) as writer:
        for number in range(3):
            writer.note(number)
            await until(lambda number=number: [number] in book.bunches)  # type: ignore[misc]
    assert book.bunches == [[0], [1], [2]]


async def test_a_mistake_in_writing_is_not_hidden() -> None:
    """An error that is not the state server's ends the work instead of being tried for ever."""
    book = Book()

    async def write(bunch: Bunch[int]) -> None:
        await book.write(bunch)
        raise ZeroDivisionError

    async def work() -> None:
        async with ProgressWriter(write, every_s=0.001, every_notes=1) as writer:
            writer.note(1)
            await until(lambda: book.bunches)

    with pytest.raises(ZeroDivisionError):
        await work()
