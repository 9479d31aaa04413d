"""Keep both windows in both directions: what we may send, and what we must give back.

Source: RFC 9113 sections 5.2, 6.9 and 6.9.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.frames import (
    DEFAULT_WINDOW_BYTES,
    END_STREAM,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    ErrorCode,
    pack_header,
    window_update_frame,
)

_DATA: Final = 0


@dataclass(slots=True)
class _Waiting:
    """A payload of which part may not leave yet."""

    rest: bytes
    window_bytes: int


class SendFlow:
    """Payloads on their way to the server, the oldest first.

    Attributes:
        window_bytes: What the connection may send.
    """

    def __init__(self) -> None:
        self.window_bytes = DEFAULT_WINDOW_BYTES
        self._initial_bytes = DEFAULT_WINDOW_BYTES
        self._waiting: dict[int, _Waiting] = {}

    def start(self, stream_id: int, body: bytes) -> bytes:
        """Return the frames of a new stream that may leave at once; the rest waits for credit."""
        size = len(body)
        if size <= self.window_bytes and size <= self._initial_bytes and size <= MAX_FRAME_BYTES:
            self.window_bytes -= size
            return pack_header(size << 8, END_STREAM, stream_id) + body
        waiting = self._waiting[stream_id] = _Waiting(body, self._initial_bytes)
        return self._send_part(stream_id, waiting)

    def flush(self) -> bytes:
        """Return the frames that credit has come for."""
        frames = []
        for stream_id, waiting in list(self._waiting.items()):
            if self.window_bytes <= 0:
                break
            frames.append(self._send_part(stream_id, waiting))
        return b"".join(frames)

    def unsent_bytes(self, stream_id: int) -> int:
        """Return how much of a payload waits."""
        waiting = self._waiting.get(stream_id)
        return 0 if waiting is None else len(waiting.rest)

    def forget(self, stream_id: int) -> bool:
        """Drop what waits for a stream; tell whether anything did."""
        return self._waiting.pop(stream_id, None) is not None

    def add_credit(self, increment: int) -> None:
        """Take credit for the connection.

        Raises:
            ProtocolError: More than there can be.
        """
        self.window_bytes += increment
        if self.window_bytes > MAX_WINDOW_BYTES:
            raise ProtocolError("connection window too large", ErrorCode.FLOW_CONTROL_ERROR)

    def add_stream_credit(self, stream_id: int, increment: int) -> bool:
        """Take credit for a stream; False when it is more than there can be. Without effect when nothing waits."""
        waiting = self._waiting.get(stream_id)
        if waiting is None:
            return True
        waiting.window_bytes += increment
        return waiting.window_bytes <= MAX_WINDOW_BYTES

    def set_initial_window(self, window_bytes: int) -> bool:
        """Take over the server's INITIAL_WINDOW_SIZE, which moves open windows too, below zero if need be.

        Returns:
            Whether there is more room than before.

        Raises:
            ProtocolError: A window becomes larger than it can be.
        """
        change = window_bytes - self._initial_bytes
        self._initial_bytes = window_bytes
        for waiting in self._waiting.values():
            waiting.window_bytes += change
            if waiting.window_bytes > MAX_WINDOW_BYTES:
                raise ProtocolError("stream window too large", ErrorCode.FLOW_CONTROL_ERROR)
        return change > 0

    def _send_part(self, stream_id: int, waiting: _Waiting) -> bytes:
        frames = []
        while (credit := min(self.window_bytes, waiting.window_bytes, MAX_FRAME_BYTES)) > 0:
            part, waiting.rest = waiting.rest[:credit], waiting.rest[credit:]
            self.window_bytes -= len(part)
            waiting.window_bytes -= len(part)
            frames.append(pack_header(len(part) << 8, 0 if waiting.rest else END_STREAM, stream_id) + part)
            if not waiting.rest:
                del self._waiting[stream_id]
                break
        return b"".join(frames)


class ReceiveWindow:
    """Credit that the server uses up, and gets back in bunches of half the window.

    Everything is given back as it is read, so the server is never without, and could only overrun the window by bytes
    that were on their way before our credit was; nobody is harmed, and nobody counts them.
    """

    __slots__ = ("_bunch_bytes", "_stream_id", "_used_bytes")

    def __init__(self, stream_id: int, size_bytes: int) -> None:
        self._stream_id = stream_id
        self._bunch_bytes = size_bytes // 2
        self._used_bytes = 0

    def take(self, size_bytes: int) -> bytes:
        """Count what came; return the frame that gives it back, or nothing yet."""
        self._used_bytes += size_bytes
        if self._used_bytes < self._bunch_bytes:
            return b""
        returned, self._used_bytes = self._used_bytes, 0
        return window_update_frame(self._stream_id, returned)
