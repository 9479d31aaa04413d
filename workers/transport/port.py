"""What the conductor wants of a transport: one push in, Apple's answer out.

An answer is a value, whatever it says. Silence is `dispatcher.errors.TransportError`, which tells whether the push may
have been sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from dispatcher.errors import TransportError
from dispatcher.push_types import Environment

STATUS_ACCEPTED: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """One request to APNs, complete but for the provider token.

    Attributes:
        environment: Which of Apple's hosts.
        key_id: The signing key whose provider token it carries; chooses the connection pool.
        device_token: Lower-case hex.
        apns_id: Canonical lower-case UUID, the same on every try.
        topic: Bundle id with the push type's suffix.
        push_type: Value of apns-push-type.
        priority: Value of apns-priority.
        expiration: Unix seconds, 0 for "never store", None to leave the header out.
        collapse_id: At most 64 bytes of UTF-8, or None.
        payload: The exact bytes to send.
        deadline_s: How long to wait for the answer once the stream is open.
        may_open: Asked at the moment the stream would be opened; False means the push must not leave any more.
        avoid: Number of the connection that failed it a moment ago: it goes over another, where there can be one.
    """

    environment: Environment
    key_id: str
    device_token: str
    apns_id: str
    topic: str
    push_type: str
    priority: int
    expiration: int | None
    collapse_id: str | None
    payload: bytes
    deadline_s: float
    may_open: Callable[[], bool]
    avoid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsAnswer:
    """What APNs said.

    Attributes:
        status: HTTP status.
        reason: Apple's reason string; empty on success.
        unregistered_at: Unix milliseconds from a 410 body; 0 when absent.
        retry_after_s: Seconds from a Retry-After header; None when absent.
        carried_by: Number of the connection that a refused push went over, unique in its process; no part of what was
            said.
    """

    status: int
    reason: str = ""
    unregistered_at: int = 0
    retry_after_s: float | None = None
    carried_by: int | None = field(default=None, compare=False)

    @property
    def is_accepted(self) -> bool:
        """Tell whether APNs took the push."""
        return self.status == STATUS_ACCEPTED


class GateClosedError(TransportError):
    """`may_open` said no when the stream would have been opened; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("the push must not leave any more", maybe_sent=False)


class Transport(Protocol):
    """Sends pushes; one per worker process, lives on its event loop."""

    async def send(self, request: PushRequest) -> ApnsAnswer:
        """Send one push and return what APNs answered.

        Never re-sends once the push may have been processed, and never waits longer than `deadline_s` after the
        stream was opened. Says in `carried_by` which connection failed a push, for `avoid` of its next try.

        Raises:
            GateClosedError: `may_open` said no; nothing was sent.
            TransportError: No answer; `maybe_sent` tells whether APNs may have it.
        """
        ...

    async def close(self) -> None:
        """Close every connection; pushes in flight end with TransportError."""
        ...
