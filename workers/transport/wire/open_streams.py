"""Hold the streams that wait for an answer, and put answers together.

A frame on a stream that is closed is ignored, whoever closed it: APNs is known to reset a stream a second time. Its
headers still go through the decoder and its bytes are still given back, for the sake of the other streams.

Source: RFC 9113 sections 5.1, 5.1.1, 5.4.2, 8.1 and 8.1.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from workers.transport.wire.answer_decoder import NO_HEADERS, AnswerDecoder
from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.events import Answered, HeadersReceived, StreamReset
from workers.transport.wire.flow import ReceiveWindow, SendFlow
from workers.transport.wire.frame_reader import without_padding
from workers.transport.wire.frames import (
    DEFAULT_WINDOW_BYTES,
    END_STREAM,
    LAST_STREAM_ID,
    PADDED,
    ErrorCode,
    reset_frame,
)

#: What the server may send on the connection before we give back.
CONNECTION_WINDOW_BYTES: Final = 2**20

_STATUS_DIGITS: Final = 3
_FIRST_STATUS: Final = 100
_FIRST_FINAL_STATUS: Final = 200
_ERROR_CODE_BYTES: Final = 4


@dataclass(slots=True)
class _Answer:
    """An answer that has begun."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    window: ReceiveWindow


class OpenStreams:
    """The streams whose answer is not whole yet.

    Attributes:
        next_stream_id: The number the next stream gets; beyond 2**31 - 1 when there is none left.
    """

    def __init__(self, *, out: list[bytes], flow: SendFlow, max_body_bytes: int, first_stream_id: int) -> None:
        self.next_stream_id = first_stream_id
        self._out = out
        self._flow = flow
        self._max_body_bytes = max_body_bytes
        self._decoder = AnswerDecoder()
        self._window = ReceiveWindow(0, CONNECTION_WINDOW_BYTES)
        self._answers: dict[int, _Answer | None] = {}

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def left(self) -> int:
        """Return how many streams may still be opened in the life of this connection."""
        return (LAST_STREAM_ID + 2 - self.next_stream_id) // 2

    def open(self) -> int:
        """Return the number of a new stream."""
        stream_id = self.next_stream_id
        self.next_stream_id = stream_id + 2
        self._answers[stream_id] = None
        return stream_id

    def reset(self, stream_id: int, error_code: int) -> StreamReset | None:
        """End a stream and tell the server; without effect when it is closed."""
        if stream_id not in self._answers:
            return None
        self._drop(stream_id)
        self._out.append(reset_frame(stream_id, error_code))
        return StreamReset(stream_id=stream_id, error_code=error_code)

    def drop_after(self, last_stream_id: int) -> None:
        """Forget the streams that the server did not process."""
        for stream_id in [stream_id for stream_id in self._answers if stream_id > last_stream_id]:
            self._drop(stream_id)

    def check_not_idle(self, stream_id: int) -> None:
        """Refuse a stream that was never opened.

        Raises:
            ProtocolError: It was never opened.
        """
        if stream_id % 2 == 0 or stream_id >= self.next_stream_id:
            raise ProtocolError(f"a frame on stream {stream_id}, which was never opened")

    # -- what the server sends

    def on_headers(self, flags: int, stream_id: int, block: bytes) -> Answered | HeadersReceived | StreamReset | None:
        """Take the headers of an answer, or its trailers."""
        self.check_not_idle(stream_id)
        if self._decoder.is_plain_200(block):
            status, headers = 200, NO_HEADERS
        else:
            status, headers = _split(self._decoder.decode(block))
        if stream_id not in self._answers:
            return None
        answer = self._answers[stream_id]
        if answer is None:
            return self._begin(stream_id, status, headers, is_end=bool(flags & END_STREAM))
        return (
            self._finish(stream_id, answer) if flags & END_STREAM else self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
        )

    def on_data(self, flags: int, stream_id: int, payload: bytes) -> Answered | StreamReset | None:
        """Take a part of a body."""
        self.check_not_idle(stream_id)
        if returned := self._window.take(len(payload)):
            self._out.append(returned)
        content = without_padding(payload) if flags & PADDED else payload
        if stream_id not in self._answers:
            return None
        answer = self._answers[stream_id]
        if answer is None:
            return self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
        answer.body += content[: self._max_body_bytes - len(answer.body)]
        stream_returned = answer.window.take(len(payload))
        if flags & END_STREAM:
            return self._finish(stream_id, answer)
        if stream_returned:
            self._out.append(stream_returned)
        return None

    def on_reset(self, _flags: int, stream_id: int, payload: bytes) -> StreamReset | None:
        """Take the end of a stream."""
        self.check_not_idle(stream_id)
        if len(payload) != _ERROR_CODE_BYTES:
            raise ProtocolError("RST_STREAM of a wrong length", ErrorCode.FRAME_SIZE_ERROR)
        if stream_id not in self._answers:
            return None
        self._drop(stream_id)
        return StreamReset(stream_id=stream_id, error_code=int.from_bytes(payload))

    def _begin(
        self, stream_id: int, status: int, headers: Mapping[bytes, bytes], *, is_end: bool
    ) -> Answered | HeadersReceived | StreamReset | None:
        if is_end and status >= _FIRST_FINAL_STATUS:
            self._close(stream_id)
            return Answered(stream_id=stream_id, status=status, headers=headers, body=b"")
        if is_end or status < _FIRST_STATUS:
            return self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
        if status < _FIRST_FINAL_STATUS:
            return None
        self._answers[stream_id] = _Answer(status, headers, b"", ReceiveWindow(stream_id, DEFAULT_WINDOW_BYTES))
        return HeadersReceived(stream_id=stream_id, status=status)

    def _finish(self, stream_id: int, answer: _Answer) -> Answered:
        self._close(stream_id)
        return Answered(stream_id=stream_id, status=answer.status, headers=answer.headers, body=answer.body)

    def _close(self, stream_id: int) -> None:
        # An answer may come before the whole payload was sent: then nobody wants the rest (RFC 9113 section 8.1).
        if self._drop(stream_id):
            self._out.append(reset_frame(stream_id, ErrorCode.CANCEL))

    def _drop(self, stream_id: int) -> bool:
        del self._answers[stream_id]
        return self._flow.forget(stream_id)


def _split(headers: dict[bytes, bytes]) -> tuple[int, dict[bytes, bytes]]:
    """Take the status out of the headers; 0 when it is absent or no status."""
    status = headers.pop(b":status", b"")
    return int(status) if len(status) == _STATUS_DIGITS and status.isdigit() else 0, headers
