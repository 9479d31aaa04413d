"""Say why the state server did not accept a notification."""

from __future__ import annotations

from dispatcher.errors import ConflictError, NotificationError
from dispatcher.idempotency import Identity
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PushType


def check(acceptance: Acceptance, push_type: PushType, identity: Identity | None) -> None:
    """Refuse what the state server refused.

    Raises:
        NotificationError: Its expiration is past or too far ahead, or it would be sent too far ahead.
        ConflictError: Its apns id or idempotency key was used for something else.
    """
    match acceptance:
        case Acceptance.ACCEPTED | Acceptance.SCHEDULED | Acceptance.REPEATED:
            return
        case Acceptance.EXPIRED:
            raise NotificationError("expiration", "is in the past")
        case Acceptance.TOO_FAR:
            limit = f"{push_type.max_expiration_ahead_s or 0:g} s"
            raise NotificationError(
                "expiration", f"of a push of type {push_type.name} must be 0 or at most {limit} ahead"
            )
        case Acceptance.TOO_LATE:
            raise NotificationError("send_at", "must be at most 30 days ahead")
        case Acceptance.CONFLICT:
            field = "apns_id" if identity is None else identity.field
            raise ConflictError(field, "was used not long ago for a notification with other content")
