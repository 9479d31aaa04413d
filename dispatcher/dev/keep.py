"""Keep a stack running: start again what dies, and show what everybody says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Final, NoReturn

from dispatcher.dev.stack import Stack

_LOOK_EVERY_S: Final = 0.2
#: A worker that dies at once is not started faster than this.
_REVIVE_EVERY: Final = 5


class LogFollower:
    """Reads the lines that are added to the logs of a stack, from now on."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._offsets: dict[Path, int] = {child.log: child.log.stat().st_size for child in stack.children}

    def lines(self) -> Iterator[str]:
        """Yield the whole lines added since the last call, each after the name of its program."""
        for child in self._stack.children:
            with child.log.open("rb") as file:
                file.seek(self._offsets.get(child.log, 0))
                added = file.read()
            whole = added[: added.rfind(b"\n") + 1]
            self._offsets[child.log] = self._offsets.get(child.log, 0) + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                yield f"{child.name:>12} | {line}"


def keep_running(stack: Stack, say: Callable[[str], object]) -> NoReturn:
    """Watch a started stack until this is interrupted.

    Raises:
        ChildError: The embedded server or the simulator ended.
    """
    logs = LogFollower(stack)
    while True:
        for _ in range(_REVIVE_EVERY):
            sleep(_LOOK_EVERY_S)
            for line in logs.lines():
                say(line)
        for name in stack.revive():
            say(f"{name} had ended and is started again")
