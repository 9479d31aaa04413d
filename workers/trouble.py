"""What a process tells the fleet: pushes of a scope only do harm, or a probe was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dispatcher.pausing import Scope
from dispatcher.push_types import Lane
from workers.reasons import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something somebody should know: pushes of a scope only do harm.

    Attributes:
        scope: Which.
        reason: Apple's, or ours.
        is_certain: Nobody needs to confirm it.
        ends_by_itself: This process alone holds back for a while; the fleet pauses nothing.
    """

    scope: Scope
    reason: str
    is_certain: bool = False
    ends_by_itself: bool = False


class Fleet(Protocol):
    """Whom a process tells what it found."""

    async def report(self, trouble: Trouble) -> None:
        """Tell of trouble; when this returns the fleet's pause is known here, if it was made."""
        ...

    async def recovered(self, app: str, lane: Lane, verdict: Verdict) -> None:
        """Tell that a probe was answered, and how."""
        ...


class NoFleet:
    """Nobody to tell."""

    async def report(self, trouble: Trouble) -> None:
        """Keep it."""

    async def recovered(self, app: str, lane: Lane, verdict: Verdict) -> None:
        """Keep it."""
