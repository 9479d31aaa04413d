"""Write answers down while others are still awaited: every few milliseconds, or every so many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

import structlog
from redis.exceptions import RedisError

NoteT = TypeVar("NoteT")

log = structlog.get_logger()


class ProgressWriter(Generic[NoteT]):
    """Collects notes and hands them to `write` in bunches; a failed bunch is written again with the next.

    Leaving the context stops it; what it has not written is in `rest`.
    """

    def __init__(
        self,
        write: Callable[[list[NoteT]], Awaitable[None]],
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

    def take(self) -> list[NoteT]:
        """Return what has not been written, for somebody else to write."""
        notes, self._notes = self._notes, []
        return notes

    def put_back(self, notes: list[NoteT]) -> None:
        """Take back what somebody else could not write."""
        self._notes = notes + self._notes

    @property
    def rest(self) -> list[NoteT]:
        """What has not been written."""
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
                await self._flush()

    async def _flush(self) -> None:
        notes = self.take()
        self._first.clear()
        self._many.clear()
        try:
            await self._write(notes)
        except RedisError as exc:
            log.warning("progress_not_written", error=type(exc).__name__, notes=len(notes))
            self.put_back(notes)
            await asyncio.sleep(self._every_s)
            self._first.set()


async def _set_within(event: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
