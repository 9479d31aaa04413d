"""Start the sink as a process of its own, and read how many pushes it has seen."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard, wait_until_ready
from tests.bench.sink import COUNT_FORMAT, READY

_ROOT: Final = Path(__file__).parents[2]
_READY_WITHIN_S: Final = 20.0
_STOPPED_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A running sink.

    Attributes:
        child: Its process.
        count_file: Where it counts.
    """

    child: Child
    count_file: Path

    @property
    def url(self) -> str:
        """Where it listens, empty until it does."""
        _, _, url = self.child.log.read_text(encoding="utf-8").partition(READY)
        return url.strip()

    @property
    def seen(self) -> int:
        """How many pushes have arrived whole."""
        (count,) = struct.unpack(COUNT_FORMAT, self.count_file.read_bytes())
        return int(count)


@contextmanager
def running_sink(directory: Path, *, delay_ms: int = 0, spread_ms: int = 0) -> Iterator[Sink]:
    """Run a sink with the certificates of a directory.

    Args:
        directory: Where its files are.
        delay_ms: How long every answer waits.
        spread_ms: How much longer it may wait, drawn for each; 0 to write the answers to one read together.
    """
    count_file = directory / "sink-count"
    command = [sys.executable, "-m", "tests.bench.sink", "--dir", str(directory), "--count", str(count_file)]
    with Guard() as guard:
        child = guard.start(
            "sink",
            [*command, "--delay-ms", str(delay_ms), "--spread-ms", str(spread_ms)],
            log=directory / "sink.log",
            env=programs.environment({}),
            directory=_ROOT,
        )
        sink = Sink(child=child, count_file=count_file)
        try:
            wait_until_ready({child: lambda: bool(sink.url)}, within_s=_READY_WITHIN_S)
            yield sink
        finally:
            guard.stop([child], within_s=_STOPPED_WITHIN_S)
