"""What can go wrong on the wire, by whose fault."""

from __future__ import annotations

from workers.transport.wire.events import Event
from workers.transport.wire.frames import ErrorCode


class ProtocolError(Exception):
    """The server broke HTTP/2; the connection can only be closed.

    Attributes:
        error_code: What to tell the server in a GOAWAY.
        events: What was understood of the same read before the fault; still true.
    """

    def __init__(self, message: str, error_code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.events: list[Event] = []


class CannotOpenStreamError(Exception):
    """A request cannot be sent; nothing of it was."""


class NoStreamLeft(CannotOpenStreamError):  # noqa: N818 - the name is the fact
    """This connection never opens a stream again: it goes away, or has no stream number left."""


class StreamLimitReached(CannotOpenStreamError):  # noqa: N818 - the name is the fact
    """As many streams are open as the server allows."""


class HeadersTooLarge(CannotOpenStreamError):  # noqa: N818 - the name is the fact
    """The headers are longer than the server says it accepts."""
