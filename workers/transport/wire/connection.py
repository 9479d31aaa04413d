"""One HTTP/2 connection as a client of APNs: requests in, bytes out; bytes in, events out.

It answers SETTINGS and PING, gives back credit and keeps within every limit of the server by itself. It does not know
time: deadlines, signs of life and when to write are the caller's.

Source: RFC 9113; RFC 7541.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from workers.transport.wire.errors import HeadersTooLarge, NoStreamLeft, ProtocolError, StreamLimitReached
from workers.transport.wire.events import Event, GoingAway, Ponged, RoomChanged, StreamReset
from workers.transport.wire.flow import SendFlow
from workers.transport.wire.frame_reader import FrameReader
from workers.transport.wire.frames import (
    ACK,
    DEFAULT_WINDOW_BYTES,
    LAST_STREAM_ID,
    PREFACE,
    ErrorCode,
    FrameType,
    SettingCode,
    frame,
    goaway_frame,
    headers_frames,
    settings_frame,
    window_update_frame,
)
from workers.transport.wire.open_streams import CONNECTION_WINDOW_BYTES, OpenStreams
from workers.transport.wire.request import WireRequest
from workers.transport.wire.request_encoder import RequestEncoder
from workers.transport.wire.settings import FIRST_STREAM_LIMIT, OUR_SETTINGS, UNSTATED_STREAM_LIMIT, read_settings

__all__ = ["HeadersTooLarge", "NoStreamLeft", "ProtocolError", "StreamLimitReached", "WireConnection", "WireRequest"]

_PING_BYTES: Final = 8
_GOAWAY_BYTES: Final = 8
_WINDOW_UPDATE_BYTES: Final = 4


class WireConnection:
    """The state of a connection, from the preface to the end.

    Never blocks and never calls back. Not safe for several threads.

    Attributes:
        stream_limit: How many streams the server allows at once.
        is_going_away: Whether either side has said GOAWAY: open streams go on, there are no new ones.
    """

    def __init__(self, *, authority: str, max_body_bytes: int = 65_536, first_stream_id: int = 1) -> None:
        """Begin: the preface and our settings are ready to be sent.

        Args:
            authority: Host, and port where it is not 443.
            max_body_bytes: Where the body of an answer is cut; its stream goes on.
            first_stream_id: Odd; another than 1 only to see a connection run out of numbers.
        """
        credit = window_update_frame(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)
        self._out = [PREFACE, settings_frame(OUR_SETTINGS), credit]
        self._reader = FrameReader()
        self._encoder = RequestEncoder(authority.encode("ascii"))
        self._flow = SendFlow()
        self._streams = OpenStreams(
            out=self._out, flow=self._flow, max_body_bytes=max_body_bytes, first_stream_id=first_stream_id
        )
        self.stream_limit = FIRST_STREAM_LIMIT
        self.is_going_away = False
        self._has_settings = False
        self._has_more_room = False
        self._last_stream_id = LAST_STREAM_ID
        self._fault: ProtocolError | None = None
        self._handlers: dict[int, Callable[[int, int, bytes], Event | None]] = {
            FrameType.DATA: self._streams.on_data,
            FrameType.HEADERS: self._streams.on_headers,
            FrameType.RST_STREAM: self._streams.on_reset,
            FrameType.SETTINGS: self._on_settings,
            FrameType.PUSH_PROMISE: self._on_push_promise,
            FrameType.PING: self._on_ping,
            FrameType.GOAWAY: self._on_goaway,
            FrameType.WINDOW_UPDATE: self._on_window_update,
        }

    # -- what may be sent

    @property
    def room(self) -> int:
        """Return how many streams may be opened now; 0 also while the connection's window is used up."""
        if self.is_going_away or self._flow.window_bytes <= 0:
            return 0
        return max(0, min(self.stream_limit - len(self._streams), self._streams.left))

    @property
    def is_exhausted(self) -> bool:
        """Tell whether every stream number has been used."""
        return self._streams.left <= 0

    def unsent_bytes(self, stream_id: int) -> int:
        """Return how much of a payload still waits for credit; 0 when all is handed over or the stream is closed."""
        return self._flow.unsent_bytes(stream_id)

    # -- requests in, bytes out

    def send_request(self, request: WireRequest) -> int:
        """Open a stream for a request and return its number.

        What of the payload goes beyond the windows is kept, and leaves when credit comes.

        Raises:
            NoStreamLeft: Never again on this connection.
            StreamLimitReached: Not now.
            HeadersTooLarge: The server would not accept the headers.
        """
        if self.is_going_away or self.is_exhausted:
            raise NoStreamLeft("the connection goes away, or has used every stream number")
        if len(self._streams) >= self.stream_limit:
            raise StreamLimitReached(f"{self.stream_limit} streams are open")
        block = self._encoder.encode(request)
        stream_id = self._streams.open()
        frames = headers_frames(stream_id, block, end_stream=not request.body)
        self._out.append(frames + self._flow.start(stream_id, request.body) if request.body else frames)
        return stream_id

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        """End a stream; without effect when it is closed. No event follows."""
        self._streams.reset(stream_id, error_code)

    def ping(self, payload: bytes) -> None:
        """Ask the server for a sign of life; the answer is a `Ponged` with the same eight bytes."""
        if len(payload) != _PING_BYTES:
            raise ValueError("a PING has eight bytes")
        self._out.append(frame(FrameType.PING, payload=payload))

    def go_away(self, error_code: int = ErrorCode.NO_ERROR) -> None:
        """Say goodbye: open streams go on, there are no new ones."""
        self.is_going_away = True
        self._out.append(goaway_frame(error_code))

    def data_to_send(self) -> bytes:
        """Return what is ready to be written, and forget it."""
        ready = b"".join(self._out)
        self._out.clear()
        return ready

    # -- bytes in, events out

    def receive_data(self, data: bytes) -> list[Event]:
        """Take what the server sent and return what it means; there may be something to send afterwards.

        Raises:
            ProtocolError: The server broke HTTP/2; what was understood before is in its `events`. Raised again at each
                later call. Any other exception is a bug.
        """
        if self._fault is not None:
            raise ProtocolError(str(self._fault), self._fault.error_code)
        events: list[Event] = []
        try:
            for kind, flags, stream_id, payload in self._reader.feed(data):
                handler = self._handlers.get(kind)
                if handler is not None and (event := handler(flags, stream_id, payload)) is not None:
                    events.append(event)
        except ProtocolError as fault:
            self._fault = fault
            fault.events = events
            raise
        if self._has_more_room:
            self._has_more_room = False
            self._out.append(self._flow.flush())
            events.append(RoomChanged())
        return events

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_stream_0(stream_id)
        if flags & ACK:
            if payload:
                raise ProtocolError("acknowledgement with content", ErrorCode.FRAME_SIZE_ERROR)
            return
        if not self._has_settings:
            self._has_settings = self._has_more_room = True
            self.stream_limit = UNSTATED_STREAM_LIMIT
        for code, value in read_settings(payload):
            self._apply(code, value)
        self._out.append(frame(FrameType.SETTINGS, flags=ACK))

    def _apply(self, code: int, value: int) -> None:
        if code == SettingCode.HEADER_TABLE_SIZE:
            self._encoder.limit_table(value)
        elif code == SettingCode.MAX_CONCURRENT_STREAMS:
            self._has_more_room |= value > self.stream_limit
            self.stream_limit = value
        elif code == SettingCode.INITIAL_WINDOW_SIZE:
            self._has_more_room |= self._flow.set_initial_window(value)
        elif code == SettingCode.MAX_HEADER_LIST_SIZE:
            self._encoder.max_list_bytes = value

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ProtocolError("PUSH_PROMISE in spite of ENABLE_PUSH 0")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> Ponged | None:
        _check_stream_0(stream_id)
        if len(payload) != _PING_BYTES:
            raise ProtocolError("PING of a wrong length", ErrorCode.FRAME_SIZE_ERROR)
        if flags & ACK:
            return Ponged(payload=payload)
        self._out.append(frame(FrameType.PING, flags=ACK, payload=payload))
        return None

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> GoingAway:
        _check_stream_0(stream_id)
        if len(payload) < _GOAWAY_BYTES:
            raise ProtocolError("GOAWAY of a wrong length", ErrorCode.FRAME_SIZE_ERROR)
        # What was disclaimed once stays so, whatever a later GOAWAY says (RFC 9113 section 6.8).
        self._last_stream_id = min(self._last_stream_id, int.from_bytes(payload[:4]) & LAST_STREAM_ID)
        self.is_going_away = True
        self._streams.drop_after(self._last_stream_id)
        error_code = int.from_bytes(payload[4:8])
        return GoingAway(last_stream_id=self._last_stream_id, error_code=error_code, debug_data=payload[8:])

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> StreamReset | None:
        if len(payload) != _WINDOW_UPDATE_BYTES:
            raise ProtocolError("WINDOW_UPDATE of a wrong length", ErrorCode.FRAME_SIZE_ERROR)
        increment = int.from_bytes(payload) & 0x7FFFFFFF
        if stream_id:
            return self._add_stream_credit(stream_id, increment)
        if increment == 0:
            raise ProtocolError("WINDOW_UPDATE of 0")
        self._flow.add_credit(increment)
        self._has_more_room = True
        return None

    def _add_stream_credit(self, stream_id: int, increment: int) -> StreamReset | None:
        self._streams.check_not_idle(stream_id)
        if increment == 0:
            return self._streams.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
        if not self._flow.add_stream_credit(stream_id, increment):
            return self._streams.reset(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
        self._has_more_room = True
        return None


def _check_stream_0(stream_id: int) -> None:
    if stream_id:
        raise ProtocolError("a frame of the connection on a stream")
