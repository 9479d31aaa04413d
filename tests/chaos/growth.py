"""Whether workers grow: their memory and their file descriptors, looked at once a minute."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from typing import Final

from tests.chaos.rig import Rig

LOOK_EVERY_S: Final = 60.0
#: Every cache is full by then.
SETTLED_AFTER_S: Final = 300.0
MOST_MB_PER_HOUR: Final = 1.0
#: A connection more or less is no growth.
MOST_MORE_DESCRIPTORS: Final = 4
_MB: Final = 2**20
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A worker at one moment.

    Attributes:
        at_s: Seconds from the start.
        memory_mb: Resident.
        descriptors: Open ones.
    """

    at_s: float
    memory_mb: float
    descriptors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How workers grew.

    Attributes:
        looks: At each worker, by its name, since it was settled.
    """

    looks: Mapping[str, Sequence[Look]]

    @property
    def mb_per_hour(self) -> float:
        """The slope of memory, a mean over all workers: single ones go up and down by what is in flight."""
        slopes = [
            linear_regression([each.at_s for each in looks], [each.memory_mb for each in looks]).slope * _HOUR_S
            for looks in self.looks.values()
        ]
        return sum(slopes) / len(slopes)

    @property
    def more_descriptors(self) -> int:
        """The most that any worker has more at the end than at first."""
        return max(looks[-1].descriptors - looks[0].descriptors for looks in self.looks.values())

    @property
    def faults(self) -> tuple[str, ...]:
        """What must not be, one line each."""
        memory = f"memory grows by {self.mb_per_hour:.1f} MB an hour"
        descriptors = f"{self.more_descriptors} more file descriptors"
        return (
            *([memory] * (self.mb_per_hour > MOST_MB_PER_HOUR)),
            *([descriptors] * (self.more_descriptors > MOST_MORE_DESCRIPTORS)),
        )

    def rows(self) -> Iterator[tuple[str, object]]:
        """Yield what is told of it."""
        last = [looks[-1] for looks in self.looks.values()]
        yield "workers' memory at the end of the calm half", ", ".join(f"{each.memory_mb:.1f} MB" for each in last)
        yield "its slope, a mean over the workers", f"{self.mb_per_hour:+.2f} MB an hour"
        yield (
            "file descriptors then, and how many more at most",
            f"{[each.descriptors for each in last]}, {self.more_descriptors}",
        )


def watch(rig: Rig, seconds: float, say: Callable[[str], object]) -> Growth | None:
    """Look at every worker for so long; None if that is too short to tell."""
    looks: dict[str, list[Look]] = defaultdict(list)
    at_s = 0.0
    while at_s + LOOK_EVERY_S <= seconds:
        rig.wait(LOOK_EVERY_S)
        at_s += LOOK_EVERY_S
        for worker in rig.workers:
            looks[worker.name].append(_look(worker.pid, at_s))
        say(f"{at_s:6.0f} s  {sum(each[-1].memory_mb for each in looks.values()):.1f} MB in {len(looks)} workers")
    rig.wait(seconds - at_s)
    settled = {name: [each for each in those if each.at_s > SETTLED_AFTER_S] for name, those in looks.items()}
    told = {name: those for name, those in settled.items() if len(those) > 1}
    return Growth(looks=told) if told else None


def _look(pid: int, at_s: float) -> Look:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return Look(
        at_s=at_s,
        memory_mb=pages * os.sysconf("SC_PAGE_SIZE") / _MB,
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    )
