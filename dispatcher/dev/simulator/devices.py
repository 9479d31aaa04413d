"""What the simulator remembers of single devices: how often they were pushed to."""

from __future__ import annotations

from collections import Counter
from typing import Final

_TIDY_AT: Final = 10_000


class Devices:
    """Counts pushes per device token.

    Args:
        burst: Pushes to one device token within a window that are still fine; 0 for any number.
        window_s: The window; it begins with a device's first push.
    """

    def __init__(self, *, burst: int, window_s: float) -> None:
        self._burst = burst
        self._window_s = window_s
        self._windows: dict[str, tuple[float, int]] = {}
        self._seen: Counter[str] = Counter()

    def is_due_for_fault(self, device_token: str, times: int) -> bool:
        """Count one push to a device token of a counted form; tell whether it is among the first `times`, 0 for all."""
        if times == 0:
            return True
        self._seen[device_token] += 1
        return self._seen[device_token] <= times

    def exceeds_burst(self, device_token: str, now: float) -> bool:
        """Count one push to a device; tell whether it is one too many within the window."""
        if self._burst == 0:
            return False
        started_at, count = self._windows.get(device_token, (now, 0))
        if not 0 <= now - started_at < self._window_s:
            started_at, count = now, 0
        self._windows[device_token] = (started_at, count + 1)
        if len(self._windows) > _TIDY_AT:
            self._tidy(now)
        return count >= self._burst

    def _tidy(self, now: float) -> None:
        # All at once after the window, rather than one by one: a campaign touches each device once.
        self._windows = {
            device_token: window
            for device_token, window in self._windows.items()
            if 0 <= now - window[0] < self._window_s
        }
