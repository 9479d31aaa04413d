"""What came of cancelling a notification."""

from __future__ import annotations

from enum import StrEnum


class Cancellation(StrEnum):
    """Whether a cancellation came in time.

    CANCELLED: in time, it never leaves; one that was tried before without success is never tried again.
    BEING_SENT: a worker has it; it is stopped if that is still possible, and never tried again. Feedback tells how it
    ended.
    ENDED: too late, it had ended.
    UNKNOWN: nothing is known of it (any more).
    """

    CANCELLED = "cancelled"
    BEING_SENT = "being_sent"
    ENDED = "ended"
    UNKNOWN = "unknown"
