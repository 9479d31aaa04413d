"""Requests as tests send them."""

from __future__ import annotations

from typing import Final

from workers.transport.wire.request import WireRequest

AUTHORITY: Final = "api.push.apple.com"

Fields = list[tuple[bytes, bytes]]


def make_request(number: int = 1, *, body: bytes = b'{"aps":{}}', **changes: bytes | None) -> WireRequest:
    """Make a request that differs from others by its number."""
    parts: dict[str, bytes | None] = {
        "path": b"/3/device/%064x" % number,
        "authorization": b"bearer " + b"j" * 200,
        "topic": b"com.example.app",
        "push_type": b"alert",
        "priority": b"10",
        "apns_id": b"%08x-0000-4000-8000-000000000000" % number,
        "expiration": None,
        "collapse_id": None,
    }
    return WireRequest(body=body, **{**parts, **changes})  # type: ignore[arg-type]


def fields_of(request: WireRequest) -> Fields:
    """Return the header fields a server should read, sorted."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", AUTHORITY.encode()),
        (b":path", request.path),
        (b"authorization", request.authorization),
        (b"apns-topic", request.topic),
        (b"apns-push-type", request.push_type),
        (b"apns-priority", request.priority),
        (b"apns-id", request.apns_id),
        (b"apns-expiration", request.expiration),
        (b"apns-collapse-id", request.collapse_id),
    ]
    return sorted((name, value) for name, value in fields if value is not None)
