"""How long a worker may act on what it claimed.

Counted on a monotonic clock that started before the claim was asked for, so that neither a slow answer nor a stopped
process makes the lease look longer than the state server thinks it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dispatcher.push_types import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneTimes:
    """What a lane's work may take.

    Attributes:
        lease_s: A claim's length, in seconds.
        deadline_s: How long a push waits for its answer; no stream is opened later than that before the lease ends.
        is_call: Whether its pushes ring: worth nothing when late, so neither answers nor retries outlive their time.
        hold_s: How long the news that a device token is dead waits until it is known not to be one of very many.
        progress_s: How long answers wait to be noted.
        progress_answers: How many answers are noted together at most.
    """

    lease_s: float = 30.0
    deadline_s: float = 10.0
    is_call: bool = False
    hold_s: float = 5.0
    progress_s: float = 0.05
    progress_answers: int = 100


#: However little is left of a call, a push that has left waits this long for its answer.
SHORTEST_DEADLINE_S: Final = 1.0

LANE_TIMES: Final[Mapping[Lane, LaneTimes]] = {
    Lane.VOIP: LaneTimes(lease_s=7.0, deadline_s=5.0, is_call=True, hold_s=1.0, progress_answers=1),
    Lane.ALERT: LaneTimes(),
    Lane.BACKGROUND: LaneTimes(),
}


class Lease:
    """A claim's remaining time."""

    def __init__(self, times: LaneTimes, monotonic: Callable[[], float]) -> None:
        self._times = times
        self._monotonic = monotonic
        self._ends = monotonic() + times.lease_s
        self._is_lost = False

    def may_open(self) -> bool:
        """Tell whether a push sent now is answered, or given up, before the lease ends."""
        return not self._is_lost and self._monotonic() + self._times.deadline_s <= self._ends

    def renew(self, asked_at: float) -> None:
        """Note that the state server renewed it.

        Args:
            asked_at: The monotonic time before it was asked to.
        """
        self._ends = asked_at + self._times.lease_s

    def lose(self) -> None:
        """Note that somebody else holds the claim now."""
        self._is_lost = True

    @property
    def left_s(self) -> float:
        """How long it still runs, in seconds; negative when it is over."""
        return self._ends - self._monotonic()

    @property
    def renew_every_s(self) -> float:
        """How often to renew it, in seconds: well before no stream may be opened any more."""
        return (self._times.lease_s - self._times.deadline_s) / 2
