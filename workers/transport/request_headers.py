"""Write down the headers of a push, in one place.

Source: "Sending notification requests to APNs", table of request headers; RFC 9113 section 8.3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.transport.port import PushRequest


def request_headers(request: PushRequest, *, authority: str, authorization: str) -> list[tuple[str, str]]:
    """Return the header list of a push, pseudo-header fields first.

    Args:
        request: The push.
        authority: Host APNs is reached at.
        authorization: "bearer" and the provider token.
    """
    headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/3/device/" + request.device_token),
        (":authority", authority),
        ("authorization", authorization),
        ("apns-id", request.apns_id),
        ("apns-topic", request.topic),
        ("apns-push-type", request.push_type),
        ("apns-priority", str(request.priority)),
    ]
    if request.expiration is not None:
        headers.append(("apns-expiration", str(request.expiration)))
    if request.collapse_id is not None:
        headers.append(("apns-collapse-id", request.collapse_id))
    return headers
