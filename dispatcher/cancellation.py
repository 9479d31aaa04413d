"""What became of the wish to cancel a notification."""

from __future__ import annotations

from enum import StrEnum


class Cancellation(StrEnum):
    """Whether a wish to cancel came in time.

    CANCELLED: In time, it never leaves. BEING_SENT: A worker has it; it is stopped if that is still possible and never
    tried again, and feedback tells how it ended. ENDED: Too late, it had ended. UNKNOWN: Nothing is known of it.
    """

    CANCELLED = "cancelled"
    BEING_SENT = "being_sent"
    ENDED = "ended"
    UNKNOWN = "unknown"
