"""Cut the bytes of a server into frames, and join header blocks that come in several.

Source: RFC 9113 sections 4.1, 4.2, 4.3, 6.1 and 6.10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.frames import (
    ACK,
    END_HEADERS,
    FRAME_HEADER_BYTES,
    LAST_STREAM_ID,
    MAX_FRAME_BYTES,
    PADDED,
    PRIORITISED,
    ErrorCode,
    FrameType,
    unpack_header,
)

#: Type, flags, stream id, payload.
Frame = tuple[int, int, int, bytes]

#: The most one header block may take, with the frames around its parts: a flood of small ones counts too.
MAX_BLOCK_BYTES: Final = 65_536

_HEADERS: Final = int(FrameType.HEADERS)
_CONTINUATION: Final = int(FrameType.CONTINUATION)
_FORM: Final = END_HEADERS | PADDED | PRIORITISED
_TOO_LONG: Final = (MAX_FRAME_BYTES + 1) << 8
_PRIORITY_BYTES: Final = 5


class FrameReader:
    """Remembers what is incomplete: part of a frame, or of a header block."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_started = False
        self._block_stream_id = 0
        self._block_flags = 0
        self._block = bytearray()
        self._block_cost_bytes = 0

    def feed(self, raw: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete; a HEADERS holds the whole block, and nothing else.

        Raises:
            ProtocolError: A frame is too long, out of place, or not a frame at all.
        """
        buffer = self._rest + raw if self._rest else raw
        position, end = 0, len(buffer)
        while end - position >= FRAME_HEADER_BYTES:
            word, flags, stream_id = unpack_header(buffer, position)
            kind = word & 0xFF
            # Judged before the rest is there, so that bytes that are no HTTP/2 are noticed at once.
            if word >= _TOO_LONG:
                raise ProtocolError("frame too long", ErrorCode.FRAME_SIZE_ERROR)
            if not self._has_started:
                self._check_first(kind, flags)
            start = position + FRAME_HEADER_BYTES
            stop = start + (word >> 8)
            if stop > end:
                break
            position = stop
            frame = (kind, flags, stream_id & LAST_STREAM_ID, buffer[start:stop])
            if kind == _CONTINUATION or self._block_stream_id or (kind == _HEADERS and flags & _FORM != END_HEADERS):
                yield from self._join(*frame)
            else:
                yield frame
        self._rest = buffer[position:]

    def _check_first(self, kind: int, flags: int) -> None:
        if kind != FrameType.SETTINGS or flags & ACK:
            raise ProtocolError("the first frame is not SETTINGS")
        self._has_started = True

    def _join(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Iterator[Frame]:
        if self._block_stream_id == 0:
            if kind == _CONTINUATION:
                raise ProtocolError("CONTINUATION of nothing")
            self._begin_block(flags, stream_id, payload)
        elif kind == _CONTINUATION and stream_id == self._block_stream_id:
            self._add_to_block(payload)
        else:
            raise ProtocolError("a header block was interrupted")
        if flags & END_HEADERS:
            self._block_stream_id = 0
            yield _HEADERS, self._block_flags, stream_id, bytes(self._block)

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ProtocolError("HEADERS on stream 0")
        if flags & PADDED:
            payload = without_padding(payload)
        if flags & PRIORITISED:
            if len(payload) < _PRIORITY_BYTES:
                raise ProtocolError("HEADERS too short for a priority", ErrorCode.FRAME_SIZE_ERROR)
            payload = payload[_PRIORITY_BYTES:]
        self._block_stream_id = stream_id
        self._block_flags = flags
        self._block_cost_bytes = 0
        self._block.clear()
        self._add_to_block(payload)

    def _add_to_block(self, payload: bytes) -> None:
        self._block_cost_bytes += FRAME_HEADER_BYTES + len(payload)
        if self._block_cost_bytes > MAX_BLOCK_BYTES:
            raise ProtocolError("header block too long", ErrorCode.ENHANCE_YOUR_CALM)
        self._block += payload


def without_padding(payload: bytes) -> bytes:
    """Return what a padded frame holds.

    Raises:
        ProtocolError: There is more padding than payload.
    """
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than payload")
    return payload[1 : len(payload) - payload[0]]
