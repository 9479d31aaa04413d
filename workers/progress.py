"""Write answers down while others are still awaited: every few milliseconds, or every so many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Generic, Self, TypeVar

import structlog
from redis.exceptions import RedisError

NoteT = TypeVar("NoteT")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bunch(Generic[NoteT]):
    """Notes that are written together.

    Attributes:
        notes: In order.
        number: Counted from 1; what may have been written is written again under the same number.
        trying: Index of the notification that is sent next, by itself; None for none.
    """

    notes: list[NoteT]
    number: int
    trying: int | None = None


class ProgressWriter(Generic[NoteT]):
    """Collects notes and hands them to `write` in bunches, one at a time.

    A bunch that failed may have been written: it is written again as it was, before any other. Leaving the context
    stops the writer; what it has not written is in `doubtful` and `rest`.
    """

    def __init__(
        self,
        write: Callable[[Bunch[NoteT]], Awaitable[None]],
        *,
        every_s: float,
        every_notes: int,
        idle_write_s: float | None = None,
    ) -> None:
        """Make a writer.

        Args:
            write: Writes a bunch; raises RedisError when it may not have been written.
            every_s: How long a note waits.
            every_notes: How many notes make a bunch that does not wait.
            idle_write_s: Write an empty bunch after this long without notes, to renew a lease; None for never.
        """
        self._write = write
        self._every_s = every_s
        self._every_notes = every_notes
        self._idle_write_s = idle_write_s
        self._notes: list[NoteT] = []
        self._numbers = count(1)
        self._doubtful: Bunch[NoteT] | None = None
        self._turn = asyncio.Lock()
        self._first = asyncio.Event()
        self._many = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def note(self, note: NoteT) -> None:
        """Add a note."""
        self._notes.append(note)
        self._first.set()
        if len(self._notes) >= self._every_notes:
            self._many.set()

    async def flush(self, *, trying: int | None = None) -> None:
        """Write down what there is, now.

        Raises:
            RedisError: It may not have been written.
        """
        async with self._turn:
            if self._doubtful is not None:
                await self._write_bunch(self._doubtful)
            notes, self._notes = self._notes, []
            self._first.clear()
            self._many.clear()
            await self._write_bunch(Bunch(notes=notes, number=next(self._numbers), trying=trying))

    @property
    def doubtful(self) -> Bunch[NoteT] | None:
        """The bunch that may have been written or not."""
        return self._doubtful

    @property
    def rest(self) -> list[NoteT]:
        """What certainly has not been written."""
        return self._notes

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._is_closing = True
        self._first.set()
        self._many.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._is_closing:
            await _set_within(self._first, self._idle_write_s)
            if self._notes:
                await _set_within(self._many, self._every_s)
            if not self._is_closing:
                await self._try_to_flush()

    async def _try_to_flush(self) -> None:
        try:
            await self.flush()
        except RedisError as exc:
            log.warning("progress_not_written", error=type(exc).__name__)
            await asyncio.sleep(self._every_s)
            self._first.set()

    async def _write_bunch(self, bunch: Bunch[NoteT]) -> None:
        self._doubtful = bunch
        await self._write(bunch)
        self._doubtful = None


async def _set_within(event: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
