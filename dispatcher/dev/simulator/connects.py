"""How often an address may connect. Source: "Establishing a connection to APNs": rapid connects look like an attack."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

_WINDOW_S: Final = 60.0


class Connects:
    """Counts connections per address.

    Args:
        per_minute: Within a simulated minute; 0 for any number.
    """

    def __init__(self, *, per_minute: int) -> None:
        self._per_minute = per_minute
        self._made_at: defaultdict[str, deque[float]] = defaultdict(deque)

    def admits(self, address: str, now: float) -> bool:
        """Count one connection; tell whether it may come in. Those that may not are not counted."""
        if not self._per_minute:
            return True
        made_at = self._made_at[address]
        while made_at and now - made_at[0] >= _WINDOW_S:
            made_at.popleft()
        if len(made_at) >= self._per_minute:
            return False
        made_at.append(now)
        return True
