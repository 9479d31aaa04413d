"""At which distance probes follow each other, while something is stopped because it would only do harm."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 2.0
LONGEST_S: Final = 300.0
#: However much development shortens delays: probes are requests that Apple counts against us.
SHORTEST_FIRST_S: Final = 0.5
SHORTEST_LONGEST_S: Final = 5.0

_DOUBLINGS: Final = 20  # far beyond the longest distance, and far from overflow


def first_s(scale: float) -> float:
    """Return when the first probe follows, in seconds."""
    return max(SHORTEST_FIRST_S, scale * FIRST_S)


def longest_s(scale: float) -> float:
    """Return the longest distance between two probes, in seconds."""
    return max(SHORTEST_LONGEST_S, scale * LONGEST_S)


def distance_s(probes: int, scale: float) -> float:
    """Return when the next probe follows after so many, in seconds."""
    return min(longest_s(scale), first_s(scale) * 2.0 ** min(probes, _DOUBLINGS))
