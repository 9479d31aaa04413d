"""Turn the signals that end a program into an exception, so that it can put everything in order first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What shells add to a signal's number in an exit code.
_SHELL_OFFSET: Final = 128


class Interruption(BaseException):
    """Somebody wants this program to end: a wish, not an error, like `KeyboardInterrupt`.

    Attributes:
        exit_code: What a shell calls this end.
    """

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        self.exit_code = _SHELL_OFFSET + number
        super().__init__(self.number.name)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interruption` in the main thread when somebody wants this program to end.

    A second wish interrupts the tidying up after the first.
    """
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interruption(number)
