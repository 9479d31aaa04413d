"""End the processes of a parent that is gone; run as a script of its own by `children.py`.

Reads lines from its standard input, a pipe: `+PID` for a process group that was started, `-PID` for one that has ended.
The input ends when the parent closes it or dies, by whatever signal. What is still noted then is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable

_SIGNALS_OF_OTHERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def remaining(lines: Iterable[str]) -> set[int]:
    """Return the process groups that were started and have not ended, once the lines end."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def main() -> None:
    """Wait for the end of the input, then kill what remains."""
    for number in _SIGNALS_OF_OTHERS:
        signal.signal(number, signal.SIG_IGN)
    for group in remaining(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
