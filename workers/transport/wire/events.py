"""What the bytes of a server mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer is whole; its stream is closed.

    Attributes:
        headers: Without `:status`. Promised for a status other than 200 only: a 200 is recognised without decoding.
        body: Cut at the connection's `max_body_bytes`.
    """

    stream_id: int
    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadersReceived:
    """The status is known, though the answer has not ended and its stream may still be reset."""

    stream_id: int
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReset:
    """A stream ended without a whole answer.

    Attributes:
        error_code: The server's; or ours, PROTOCOL_ERROR or FLOW_CONTROL_ERROR, when what it sent on the stream was
            malformed and we reset it. Any 32-bit number.
    """

    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomChanged:
    """The server allows more streams or more bytes than before; comes last, once per read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoingAway:
    """The server takes no new streams, and did not process those after `last_stream_id`, which are closed.

    May come more than once, with falling `last_stream_id`; the first is 2**31 - 1 when the server only warns.
    """

    last_stream_id: int
    error_code: int
    debug_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ponged:
    """The server answered a PING.

    Attributes:
        payload: The eight bytes of that PING.
    """

    payload: bytes


Event = Answered | HeadersReceived | StreamReset | RoomChanged | GoingAway | Ponged
