"""Tell a few bad device tokens from a wrong environment or key, under which every device token looks bad.

Pure: answers in, judgement out.

Source: "Handling notification responses from APNs": a device token of the other environment is BadDeviceToken.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

LOOK_BACK: Final = 100
#: So many bad device tokens, half of all or more, are no accident.
SURGE: Final = 20
SHARE: Final = 0.5


class Health(StrEnum):
    """What the last answers say of an app's environment."""

    HEALTHY = "healthy"
    UNDECIDED = "undecided"
    SURGE = "surge"


class DeviceSurge:
    """The last answers to pushes of one app and environment.

    Attributes:
        health: What they say.
    """

    def __init__(self) -> None:
        self.health = Health.UNDECIDED
        self._recent: deque[bool] = deque(maxlen=LOOK_BACK)
        self._bad = 0

    def note(self, *, is_bad: bool) -> None:
        """Learn whether Apple knew a device token, or refused it as none of this app and environment."""
        if self.health is Health.HEALTHY and not is_bad and not self._bad and len(self._recent) == LOOK_BACK:
            return  # nothing changes
        if len(self._recent) == LOOK_BACK:
            self._bad -= self._recent[0]
        self._recent.append(is_bad)
        self._bad += is_bad
        self.health = self._judge()

    def forget(self) -> None:
        """Begin anew, after a pause."""
        self._recent.clear()
        self._bad = 0
        self.health = Health.UNDECIDED

    def _judge(self) -> Health:
        if self._bad < SHARE * len(self._recent):
            return Health.HEALTHY
        return Health.SURGE if self._bad >= SURGE else Health.UNDECIDED
