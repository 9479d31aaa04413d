"""What the scripts of slots reply."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """How far a notification in a slot has come.

    Attributes:
        accepted_at: Unix seconds.
        allowed: When it may be sent, Unix seconds; in the past when it is due.
        attempts: Attempts used.
        is_being_sent: A worker has it.
        is_parked: It waits until a pause ends.
    """

    accepted_at: float
    allowed: float
    attempts: int
    is_being_sent: bool
    is_parked: bool
