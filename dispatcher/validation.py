"""Refuse at the call what Apple would refuse later, judged on the exact bytes that will be sent.

Source: "Sending notification requests to APNs", "Generating a remote notification".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from dispatcher import ids, routing
from dispatcher.errors import NotificationError
from dispatcher.notification import Notification
from dispatcher.push_types import PUSH_TYPES, Collapse, Environment, PushType
from dispatcher.record import Record

MAX_COLLAPSE_ID_BYTES: Final = 64
#: Later than this in seconds is milliseconds by mistake (the year 5138).
MAX_TIME: Final = 10**11
#: Generous: the longest device tokens seen are 160 digits, Apple names no limit.
MAX_DEVICE_TOKEN_DIGITS: Final = 512
MAX_EXPIRES_IN_S: Final = 30 * 24 * 3600.0
MAX_HOLD_FOR_S: Final = 24 * 3600.0
#: The greatest number that Lua compares exactly.
MAX_VERSION: Final = 2**53
MAX_IDEMPOTENCY_KEY_CHARACTERS: Final = 255

_DEVICE_TOKEN: Final = re.compile(r"(?:[0-9a-f]{2}){1,256}")
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f]")


def make_record(notification: Notification, *, environment: Environment) -> Record:
    """Return the record of a valid notification.

    Whether its times are past or too far ahead is judged where it is accepted, on the state server's clock.

    Args:
        notification: What the caller asked for.
        environment: The app's environment, used when the notification names none.

    Raises:
        NotificationError: The first rule it breaks.
    """
    push_type = _push_type(notification)
    send_at = _send_at(notification.send_at)
    _check_slot_options(notification)
    return Record(
        app=notification.app,
        environment=_environment(notification.environment or environment),
        push_type=push_type.name,
        device_tokens=(checked_device_token(notification.device_token),),
        payload=_payload(notification.payload, push_type),
        priority=_priority(notification.priority, push_type),
        expiration=_expiration(notification.expiration, push_type, send_at),
        expires_in=_expires_in(notification.expires_in, push_type),
        send_at=send_at,
        collapse_id=_collapse_id(notification.collapse_id),
        version=notification.version,
        report=notification.report,
        track=notification.track,
    )


def checked_device_token(device_token: str) -> str:
    """Return a device token in lower case.

    Raises:
        NotificationError: It is not hex of whole bytes, so it could not stand in a path.
    """
    if isinstance(device_token, str):
        lower = device_token.lower()
        if _DEVICE_TOKEN.fullmatch(lower):
            return lower
    raise NotificationError("device_token", f"must be hex digits, an even number of 2 to {MAX_DEVICE_TOKEN_DIGITS}")


def checked_apns_id(apns_id: str) -> str:
    """Return a caller's own apns id.

    Raises:
        NotificationError: It is not a UUID in its canonical lower-case form.
    """
    if not isinstance(apns_id, str) or not ids.is_canonical(apns_id):
        raise NotificationError("apns_id", "must be a UUID of lower-case digits, grouped 8-4-4-4-12")
    return apns_id


def checked_idempotency_key(notification: Notification) -> str:
    """Return a caller's idempotency key.

    Raises:
        NotificationError: It is no text, too long, or given together with an apns id.
    """
    key = notification.idempotency_key
    if notification.apns_id is not None:
        raise NotificationError("idempotency_key", "must not be given together with apns_id")
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS or not _is_utf_8(key):
        raise NotificationError("idempotency_key", f"must be text of 1 to {MAX_IDEMPOTENCY_KEY_CHARACTERS} characters")
    return key


def _push_type(notification: Notification) -> PushType:
    push_type = PUSH_TYPES.get(notification.push_type)
    if push_type is None:
        raise NotificationError("push_type", f"must be one of {', '.join(PUSH_TYPES)}")
    if notification.collapse and push_type.collapse is Collapse.NEVER:
        raise NotificationError("collapse", f"a push of type {push_type.name} is never collapsed")
    return push_type


def _environment(environment: str) -> Environment:
    try:
        return Environment(environment)
    except ValueError as exc:
        raise NotificationError("environment", f"must be one of {', '.join(Environment)}") from exc


def _payload(payload: Mapping[str, Any], push_type: PushType) -> bytes:
    if not isinstance(payload, Mapping):
        raise NotificationError("payload", "must be a JSON object")
    for field, rule in push_type.payload_rule(payload):
        raise NotificationError(field, rule)
    encoded = _encode_payload(payload)
    if len(encoded) > push_type.max_payload_bytes:
        raise NotificationError(
            "payload", f"is {len(encoded)} bytes, at most {push_type.max_payload_bytes} for {push_type.name}"
        )
    return encoded


def _encode_payload(payload: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        reason = "is nested too deeply"
    except (TypeError, ValueError) as exc:
        reason = f"cannot be written as JSON: {_without_content(exc)}"
    raise NotificationError("payload", reason)


def _without_content(exc: Exception) -> str:
    """Describe an encoding error by its kind, since its text may quote the payload."""
    return "a character that is not UTF-8" if isinstance(exc, UnicodeEncodeError) else type(exc).__name__


def _priority(priority: int | None, push_type: PushType) -> int:
    if priority is None:
        return push_type.default_priority
    if isinstance(priority, bool) or priority not in push_type.priorities:
        allowed = ", ".join(map(str, push_type.priorities))
        raise NotificationError("priority", f"of a push of type {push_type.name} must be one of {allowed}")
    return priority


def _expiration(expiration: int | None, push_type: PushType, send_at: float | None) -> int | None:
    if expiration is None:
        return push_type.default_expiration
    if isinstance(expiration, bool) or not isinstance(expiration, int) or expiration < 0:
        raise NotificationError("expiration", "must be whole Unix seconds, or 0")
    if expiration > MAX_TIME:
        raise NotificationError("expiration", "must be Unix seconds, not milliseconds")
    if send_at is not None and 0 < expiration <= send_at:
        raise NotificationError("expiration", "must be later than send_at")
    return expiration


def _send_at(send_at: float | datetime | None) -> float | None:
    if send_at is None:
        return None
    if isinstance(send_at, datetime):
        if send_at.utcoffset() is None:
            raise NotificationError("send_at", "must be a datetime that knows its time zone, or Unix seconds")
        return send_at.timestamp()
    if not _is_number(send_at) or send_at < 0:
        raise NotificationError("send_at", "must be Unix seconds, or a datetime that knows its time zone")
    if send_at > MAX_TIME:
        raise NotificationError("send_at", "must be Unix seconds, not milliseconds")
    return float(send_at)


def _check_slot_options(notification: Notification) -> None:
    """Check what only makes sense where a newer notification replaces a waiting one."""
    version, hold_for = notification.version, notification.hold_for
    if not _is_number(hold_for) or not 0 <= hold_for <= MAX_HOLD_FOR_S:
        raise NotificationError("hold_for", f"must be 0 to {MAX_HOLD_FOR_S:g} seconds")
    if version is not None and not _is_version(version):
        raise NotificationError("version", f"must be a whole number from 0 to {MAX_VERSION}")
    if routing.is_collapsed(notification.push_type, on_request=notification.collapse):
        return
    for field, is_given in (("hold_for", hold_for > 0), ("version", version is not None)):
        if is_given:
            raise NotificationError(field, "is only for notifications that collapse")


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_version(version: int) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and 0 <= version <= MAX_VERSION


def _is_number(value: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _expires_in(expires_in: float | None, push_type: PushType) -> float | None:
    if expires_in is None:
        return push_type.expires_in_s
    if not _is_number(expires_in) or not 0 < expires_in <= MAX_EXPIRES_IN_S:
        raise NotificationError("expires_in", f"must be more than 0 and at most {MAX_EXPIRES_IN_S:g} seconds")
    return float(expires_in)


def _collapse_id(collapse_id: str | None) -> str | None:
    if collapse_id is None:
        return None
    if not isinstance(collapse_id, str) or not collapse_id or _CONTROL_CHARACTERS.search(collapse_id):
        raise NotificationError("collapse_id", "must be text without control characters")
    try:
        size = len(collapse_id.encode())
    except UnicodeEncodeError:
        raise NotificationError("collapse_id", "holds a character that is not UTF-8") from None
    if size > MAX_COLLAPSE_ID_BYTES:
        raise NotificationError("collapse_id", f"is {size} bytes, at most {MAX_COLLAPSE_ID_BYTES}")
    return collapse_id
