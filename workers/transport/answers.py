"""Turn a finished HTTP/2 response into Apple's answer; a body that cannot be read leaves the reason empty.

Source: "Handling notification responses from APNs".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from workers.transport.port import ApnsAnswer

#: Apple's bodies have about 50 bytes; more than this is not Apple's, and not worth keeping.
MAX_BODY_BYTES: Final = 4096

#: Who asks to be left alone for longer is not believed.
LONGEST_RETRY_AFTER_S: Final = 86_400.0


def read_answer(*, status: int, retry_after: str, body: bytes, now: float) -> ApnsAnswer:
    """Return the answer a response holds; total over every body and header.

    Args:
        status: HTTP status.
        retry_after: Value of the Retry-After header; empty when absent.
        body: What arrived of the body, possibly cut off, empty, or no JSON at all.
        now: Unix seconds, for a Retry-After that names a moment.
    """
    fields = _read_object(body)
    reason = fields.get("reason")
    timestamp = fields.get("timestamp")
    return ApnsAnswer(
        status=status,
        reason=reason if isinstance(reason, str) else "",
        unregistered_at=timestamp if isinstance(timestamp, int) else 0,
        retry_after_s=_read_seconds(retry_after, now),
    )


def read_goaway_reason(debug_body: bytes | None) -> str:
    """Return the reason in a GOAWAY's debug bytes; empty when there is none.

    Source: "Handling notification responses from APNs": the reasons of a closed connection are the same JSON.
    """
    reason = _read_object(debug_body or b"").get("reason")
    return reason if isinstance(reason, str) else ""


def _read_object(body: bytes) -> Mapping[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _read_seconds(retry_after: str, now: float) -> float | None:
    # Seconds or a date (RFC 9110 section 10.2.3); APNs has never been seen to send either, a proxy before it may.
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(retry_after).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, moment - now), LONGEST_RETRY_AFTER_S)
