"""What a worker notes of the notifications in its hands, in the form the scripts decode."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

#: Tries of a notification that are kept.
HISTORY_LENGTH: Final = 10
_BETWEEN_TRIES: Final = "; "


@dataclass(slots=True, kw_only=True)
class Ends:
    """What ended notifications leave behind, in the form the scripts read.

    Attributes:
        count: Counter field -> how many to add.
        feedback: Stream entries as flat lists of field, value, ...
        dead: The same for the dead-letter stream.
        unreadable: The same for what could not be read.
        tracked: Apns id -> how it ended, as JSON, for those that are tracked.
    """

    count: dict[str, int] = field(default_factory=dict)
    feedback: list[list[str | int]] = field(default_factory=list)
    dead: list[list[str | int]] = field(default_factory=list)
    unreadable: list[list[str | int]] = field(default_factory=list)
    tracked: dict[str, str] = field(default_factory=dict)

    def add(self, counter: str, number: int = 1) -> None:
        """Count something."""
        self.count[counter] = self.count.get(counter, 0) + number

    def as_json(self) -> dict[str, Any]:
        """Return the form the scripts decode."""
        return {
            "count": self.count,
            "feedback": self.feedback,
            "dead": self.dead,
            "unreadable": self.unreadable,
            "tracked": self.tracked,
        }


@dataclass(slots=True, kw_only=True)
class Notes:
    """What happened to some notifications of a claimed batch.

    Attributes:
        ended: Indices that have ended.
        waiting: (index, attempts, delay in seconds, history) of those to be tried again.
        ends: What they leave behind.
    """

    ended: list[int] = field(default_factory=list)
    waiting: list[tuple[int, int, float, str]] = field(default_factory=list)
    ends: Ends = field(default_factory=Ends)

    def encode(self) -> str:
        """Return the form the scripts decode."""
        return json.dumps({"ended": self.ended, "waiting": self.waiting, "ends": self.ends.as_json()})


def with_try(history: str, at: float, reason: str) -> str:
    """Return a notification's tries, "<unix s> <reason>; ...", with one more; only the last ones are kept."""
    tries = history.split(_BETWEEN_TRIES) if history else []
    return _BETWEEN_TRIES.join([*tries, f"{at:.0f} {reason.replace(_BETWEEN_TRIES, ', ')}"][-HISTORY_LENGTH:])
