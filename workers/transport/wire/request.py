"""One push as the wire takes it."""

from __future__ import annotations

from dataclasses import dataclass


# Not frozen: that would cost more than a microsecond per push, the tenth part of what sending it costs.
@dataclass(slots=True, kw_only=True)
class WireRequest:
    """The headers that differ between pushes, and the payload; all as they are sent.

    Attributes:
        path: "/3/device/" and the device token.
        authorization: "bearer" and the provider token.
        apns_id: Canonical, lower case.
        expiration: Unix seconds in digits; None leaves the header out.
        collapse_id: UTF-8; None leaves the header out.
        body: The payload.
    """

    path: bytes
    authorization: bytes
    topic: bytes
    push_type: bytes
    priority: bytes
    apns_id: bytes
    expiration: bytes | None
    collapse_id: bytes | None
    body: bytes
