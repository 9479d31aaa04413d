"""Write down the headers of a push, in one place: as a header list, and as our wire takes them.

Source: "Sending notification requests to APNs", table of request headers; RFC 9113 section 8.3.1.
"""

from __future__ import annotations

from workers.transport.port import PushRequest
from workers.transport.wire.request import WireRequest


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


def wire_request(request: PushRequest, *, authorization: str) -> WireRequest:
    """Return a push as it is sent.

    Raises:
        UnicodeError: A header has no bytes.
    """
    return WireRequest(
        path=b"/3/device/" + request.device_token.encode(),
        authorization=authorization.encode(),
        topic=request.topic.encode(),
        push_type=request.push_type.encode(),
        priority=b"%d" % request.priority,
        apns_id=request.apns_id.encode(),
        expiration=None if request.expiration is None else b"%d" % request.expiration,
        collapse_id=None if request.collapse_id is None else request.collapse_id.encode(),
        body=request.payload,
    )
