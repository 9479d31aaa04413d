"""Where a notification is, or how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.feedback import Outcome


class State(StrEnum):
    """Where a notification is."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    HELD = "held"
    BEING_SENT = "being_sent"
    WAITING = "waiting"
    PARKED = "parked"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is known of a notification; times are Unix seconds of the state server.

    Attributes:
        apns_id: Its id.
        state: Where it is: waiting is for its next try, parked is for the end of a pause.
        accepted_at: When it was accepted; None once it has ended.
        due: Until when it is scheduled or held, or waits for its next try.
        attempts: Attempts used; the one that ended it counts if Apple answered it.
        outcome: How it ended; None while it lives, or when that was not tracked.
        status: HTTP status of the answer that ended it; 0 when there was none.
        reason: Apple's reason, or ours in words.
        unregistered_at: Unix milliseconds at which Apple knew the device token dead; 0 when unknown.
        ended_at: When it ended.
    """

    apns_id: str
    state: State
    accepted_at: float | None = None
    due: float | None = None
    attempts: int = 0
    outcome: Outcome | None = None
    status: int = 0
    reason: str = ""
    unregistered_at: int = 0
    ended_at: float | None = None


def encode_end(*, outcome: Outcome, status: int, reason: str, attempts: int, unregistered_at: int) -> str:
    """Return the form in which the end of a tracked notification is kept."""
    end = {
        "outcome": outcome,
        "status": status,
        "reason": reason,
        "attempts": attempts,
        "unregistered_at": unregistered_at,
    }
    return json.dumps(end, separators=(",", ":"))


def decode_end(apns_id: str, kept: str) -> Status:
    """Return how a tracked notification ended.

    Args:
        apns_id: Its id.
        kept: The time, a space, and what `encode_end` returned.
    """
    ended_at, _, text = kept.partition(" ")
    end = json.loads(text)
    return Status(
        apns_id=apns_id,
        state=State.ENDED,
        attempts=end["attempts"],
        outcome=Outcome(end["outcome"]),
        status=end["status"],
        reason=end["reason"],
        unregistered_at=end.get("unregistered_at", 0),
        ended_at=float(ended_at),
    )
