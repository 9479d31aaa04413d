"""Show how far the demo is: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

STAGES: Final = ("enqueued", "received by APNs", "ended")
_LINE_EVERY_S: Final = 2.0


class Display(Protocol):
    """What shows how far each of `STAGES` is."""

    def update(self, *done: int) -> None:
        """Show how many notifications have come through each stage."""
        ...


@contextmanager
def displayed(console: Console, total: int) -> Iterator[Display]:
    """Show progress towards a total on a console, as its kind allows."""
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress, total)


class _Bars:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._tasks = [progress.add_task(stage, total=total) for stage in STAGES]

    def update(self, *done: int) -> None:
        # What expired or was superseded never reaches APNs: at the end every bar is as full as it will be.
        has_ended = done[-1] >= self._total
        for task, number in zip(self._tasks, done, strict=True):
            self._progress.update(task, completed=number, total=number if has_ended else self._total)


class _Lines:
    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._started = monotonic()
        self._next_line_at = self._started

    def update(self, *done: int) -> None:
        now = monotonic()
        if now < self._next_line_at and min(done) < self._total:
            return
        self._next_line_at = now + _LINE_EVERY_S
        stages = ", ".join(f"{number:,} {stage}" for number, stage in zip(done, STAGES, strict=True))
        self._console.print(f"{now - self._started:5.1f} s: {stages} of {self._total:,}")
