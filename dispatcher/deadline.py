"""Say until when what happens below may take, to code that is reached through somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Final

_ends_at: Final[ContextVar[float | None]] = ContextVar("ends_at", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what happens inside so much time from now."""
    before = _ends_at.set(monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(before)


def remaining_s(otherwise: float) -> float:
    """Return how much time is left, 0 when none is; `otherwise` where nobody gave a time."""
    ends_at = _ends_at.get()
    return otherwise if ends_at is None else max(0.0, ends_at - monotonic())
