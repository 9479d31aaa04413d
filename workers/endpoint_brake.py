"""How one of Apple's hosts is spared while it is in trouble, so that a storm of 5xx meets few requests.

    open -> closed for a growing time -> one probe at a time -> open again, or closed for longer

Closes when the last three answers were 5xx and at least five of the last twenty: a device whose pushes always fail
among thousands of others closes nothing. A success opens it. Pure; all times are Unix seconds of the state server.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: Answers looked back on, how many of them must be 5xx, and how many of the last ones in a row.
LOOK_BACK: Final = 20
TROUBLED: Final = 5
IN_A_ROW: Final = 3

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
#: A probe that nobody has answered after this is given up.
PROBE_LASTS_S: Final = 15.0

_DOUBLINGS: Final = 10


class EndpointBrake:
    """The brake of one environment in one process.

    Attributes:
        closings: How often it closed since the last success.
    """

    def __init__(self, scale: float) -> None:
        self.closings = 0
        self._scale = scale
        self._recent: deque[bool] = deque([False] * LOOK_BACK, maxlen=LOOK_BACK)
        self._closed_until = 0.0
        self._probe_ends = 0.0

    def is_closed(self, now: float) -> bool:
        """Tell whether only probes may be sent."""
        return self.closings > 0 or now < self._closed_until

    def wait_s(self, now: float) -> float:
        """Return for how long nothing may be sent, in seconds; 0 hands out the probe to whoever asks."""
        left_s = max(self._closed_until, self._probe_ends) - now
        if left_s <= 0:
            self._probe_ends = now + PROBE_LASTS_S
        return max(0.0, left_s)

    def note_success(self) -> None:
        """Learn that it answers."""
        self._recent.append(False)
        if self.closings:
            self.closings = 0
            self._closed_until = self._probe_ends = 0.0

    def note_trouble(self, now: float, *, retry_after_s: float | None, dice: float) -> None:
        """Learn of a 5xx; those to requests sent before it closed make it close no longer."""
        self._recent.append(True)
        if now < self._closed_until or not (self.closings or self._is_storm()):
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.closings, _DOUBLINGS))
        pause_s = max(pause_s, retry_after_s or 0.0) * (1 + dice / 4)
        self.closings += 1
        self._closed_until = now + self._scale * pause_s
        self._probe_ends = 0.0

    def note_silence(self) -> None:
        """Learn that the probe got no answer: another may go."""
        self._probe_ends = 0.0

    def _is_storm(self) -> bool:
        recent = list(self._recent)
        return all(recent[-IN_A_ROW:]) and sum(recent) >= TROUBLED
