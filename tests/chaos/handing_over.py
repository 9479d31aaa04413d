"""The moment at which a broker on Redis hands a message over, as it is seen on the network."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.proxy import Direction


def hands_over(task: str) -> Callable[[Direction, bytes], bool]:
    """Return what tells the broker's answer that holds the message of a task."""
    name = f'"task": "{task}"'.encode()
    return lambda direction, piece: direction is Direction.TO_CLIENT and name in piece
