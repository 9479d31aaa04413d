"""The server's side of one HTTP/2 connection, without any I/O: bytes in, requests out; replies in, bytes out.

All framing is h2's. What is ours: which streams are refused, and bodies that wait for the client's window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from dispatcher.dev.simulator.request import RawHeaders, Request, header_list_bytes, parse_request

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: What Apple announces. Source: jchambers/pushy issues 476 and 878.
HEADER_TABLE_BYTES: Final = 4096
WINDOW_BYTES: Final = 65_535
MAX_FRAME_BYTES: Final = 16_384
MAX_HEADER_LIST_BYTES: Final = 8_000
#: Streams after which h2 is made to forget the closed ones.
_TIDY_EVERY: Final = 500

NumberedRequest = tuple[int, Request]


class _Connection(H2Connection):
    """An h2 connection that leaves the stream limit to us.

    h2 ends the whole connection when a client opens one stream too many, and counts all streams at every new one.
    Apple refuses the one stream.
    """

    @property
    def open_inbound_streams(self) -> int:
        return 0

    def forget_closed_streams(self) -> int:
        """Free the memory of closed streams; return how many are open."""
        return super().open_inbound_streams


@dataclass(slots=True)
class _Stream:
    """A stream whose answer is not finished."""

    headers: RawHeaders
    pieces: list[bytes] = field(default_factory=list)
    withheld: bytes = b""


class Http2Session:
    """One client's connection.

    Args:
        max_streams: Concurrent streams at first.

    Attributes:
        is_over: One side said goodbye, or the client broke the protocol: send what is left and close.
    """

    def __init__(self, *, max_streams: int) -> None:
        self.is_over = False
        self._max_streams = max_streams
        self._streams: dict[int, _Stream] = {}
        self._whole: list[NumberedRequest] = []
        self._start: bytes | None = b""
        self._opened = 0
        self._h2 = _make_h2(max_streams)
        self._on_event: Mapping[type[events.Event], Callable[[Any], None]] = {
            events.RequestReceived: self._on_headers,
            events.DataReceived: self._on_data,
            events.StreamEnded: self._on_end,
            events.StreamReset: self._on_reset,
            events.WindowUpdated: self._on_window,
            events.RemoteSettingsChanged: self._on_settings,
            events.ConnectionTerminated: self._on_goodbye,
        }

    def receive(self, received: bytes) -> Sequence[NumberedRequest]:
        """Take bytes of the client; return the requests that they completed, with their stream ids."""
        if self._start is not None and not self._is_http2(received):
            return ()
        try:
            for event in self._h2.receive_data(received):
                handler = self._on_event.get(type(event))
                if handler is not None:
                    handler(event)
        except ProtocolError:
            self.is_over = True  # h2 has its GOAWAY ready
        whole, self._whole = self._whole, []
        return whole

    def reply(self, stream_id: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Answer a stream, the body as far as the client's window lets it; a stream that is gone is passed over."""
        stream = self._streams.get(stream_id)
        if stream is None or self.is_over:
            return
        self._h2.send_headers(stream_id, headers, end_stream=not body)
        if body:
            stream.withheld = body
            self._send_body(stream_id, stream)
        else:
            del self._streams[stream_id]

    def limit_streams(self, max_streams: int) -> None:
        """Announce another number of concurrent streams, if it is another."""
        if max_streams != self._max_streams and not self.is_over:
            self._max_streams = max_streams
            self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: max_streams})

    def say_goodbye(self, debug_text: bytes) -> None:
        """Send GOAWAY; every stream that was opened before counts as processed."""
        if not self.is_over:
            self.is_over = True
            self._h2.close_connection(ErrorCodes.NO_ERROR, debug_text)

    def bytes_to_send(self) -> bytes:
        """Return what is ready for the client, once."""
        return self._h2.data_to_send()

    def _is_http2(self, received: bytes) -> bool:
        # Apple tells senders of HTTP/1 what they did, in a GOAWAY: Altaibaatar/APNS-with-auth-key-p8-using-PHP issue 2.
        start = self._start = (self._start or b"") + received
        if not PREFACE.startswith(start[: len(PREFACE)]):
            self.is_over = True
            request_line = start.partition(b"\r\n")[0].rpartition(b" HTTP/")[0] or start[:80]
            self._h2.close_connection(ErrorCodes.PROTOCOL_ERROR, b"Unexpected HTTP/1.x request: " + request_line)
            return False
        if len(start) >= len(PREFACE):
            self._start = None
        return True

    def _on_headers(self, event: events.RequestReceived) -> None:
        self._opened += 1
        if self._opened % _TIDY_EVERY == 0:
            self._h2.forget_closed_streams()
        if len(self._streams) >= self._max_streams:
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
        elif header_list_bytes(event.headers) > MAX_HEADER_LIST_BYTES:
            self._h2.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
        else:
            self._streams[event.stream_id] = _Stream(event.headers)

    def _on_data(self, event: events.DataReceived) -> None:
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.pieces.append(event.data)

    def _on_end(self, event: events.StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._whole.append((event.stream_id, parse_request(stream.headers, b"".join(stream.pieces))))
            stream.pieces.clear()

    def _on_reset(self, event: events.StreamReset) -> None:
        self._streams.pop(event.stream_id, None)

    def _on_window(self, event: events.WindowUpdated) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._send_body(event.stream_id, stream)
        elif event.stream_id == 0:
            self._send_bodies()

    def _on_settings(self, _event: events.RemoteSettingsChanged) -> None:
        self._send_bodies()

    def _on_goodbye(self, _event: events.ConnectionTerminated) -> None:
        # h2 sends nothing more once the client has said GOAWAY, not even answers that are due.
        self.is_over = True

    def _send_bodies(self) -> None:
        for stream_id, stream in list(self._streams.items()):
            if stream.withheld:
                self._send_body(stream_id, stream)

    def _send_body(self, stream_id: int, stream: _Stream) -> None:
        while stream.withheld:
            window = self._h2.local_flow_control_window(stream_id)
            size = min(window, self._h2.max_outbound_frame_size, len(stream.withheld))
            if size <= 0:
                return
            piece, stream.withheld = stream.withheld[:size], stream.withheld[size:]
            self._h2.send_data(stream_id, piece, end_stream=not stream.withheld)
            if not stream.withheld:
                del self._streams[stream_id]


def _make_h2(max_streams: int) -> _Connection:
    # Our own answers are well-formed; checking them again would cost as much as judging the request.
    config = H2Configuration(client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False)
    connection = _Connection(config)
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.HEADER_TABLE_SIZE: HEADER_TABLE_BYTES,
            SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
            SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        },
    )
    connection.initiate_connection()
    return connection
