"""How long to pause after attempts to connect that failed. Apple takes frequent reconnecting for an attack.

Times are those of a monotonic clock.

Source: "Communicating with APNs": keep connections open, do not repeatedly open and close them.
"""

from __future__ import annotations

import math
from typing import Final

#: Pause after the first failure, and the longest one.
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

#: After so many failures in a row somebody should know, and again this much later.
ALARM_AFTER: Final = 3
ALARM_EVERY_S: Final = 60.0

_DOUBLINGS: Final = 16  # far beyond the longest pause, and far from overflow


def backoff_s(failures: int, dice: float) -> float:
    """Return the pause after that many failures in a row: doubling, less up to a half by chance.

    Args:
        failures: At least 1.
        dice: From 0 up to 1; spreads the processes of a fleet.
    """
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, _DOUBLINGS))
    return pause_s * (1 - dice / 2)


class Backoff:
    """The failures in a row of one pool, and the pause after the last.

    Attributes:
        failures: How many there were since the last success.
        cause: Why the last attempt failed.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.cause = ""
        self._ends_at = 0.0
        self._alarmed_at = -math.inf

    def fail(self, cause: str, *, now: float, dice: float) -> float:
        """Note a failure and return the pause that follows, in seconds."""
        self.failures += 1
        self.cause = cause
        pause_s = backoff_s(self.failures, dice)
        self._ends_at = now + pause_s
        return pause_s

    def succeed(self) -> None:
        """Forget the failures."""
        self.failures = 0

    def is_alarm_due(self, now: float) -> bool:
        """Tell whether somebody should know now; asked after a failure, once for each alarm."""
        if self.failures < ALARM_AFTER or now - self._alarmed_at < ALARM_EVERY_S:
            return False
        self._alarmed_at = now
        return True

    def is_pausing(self, now: float) -> bool:
        """Tell whether no attempt may be made now."""
        return self.failures > 0 and now < self._ends_at
