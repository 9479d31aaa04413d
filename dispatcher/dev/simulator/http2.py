"""The server's side of one HTTP/2 connection, without any I/O: bytes in, requests out; replies in, bytes out.

All framing is h2's. What is ours: which streams are refused, bodies that wait for the client's window, and a GOAWAY
after which the streams it lets through are still answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from dispatcher.dev.simulator.http2_setup import MAX_HEADER_LIST_BYTES, SessionOptions, make_h2
from dispatcher.dev.simulator.http2_stream import Stream
from dispatcher.dev.simulator.request import Request, header_list_bytes, parse_request

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: The first GOAWAY of a graceful shutdown lets every stream through. Source: RFC 9113 section 6.8.
HIGHEST_STREAM_ID: Final = 2**31 - 1
#: Streams after which h2 is made to forget the closed ones.
_TIDY_EVERY: Final = 500

NumberedRequest = tuple[int, Request]


class Http2Session:
    """One client's connection.

    Attributes:
        returns_window: Give the client credit for what it sends; what is withheld is given when set again.
    """

    def __init__(self, options: SessionOptions) -> None:
        self._is_broken = False
        self._closes_when_drained = False
        self._last_stream_id = HIGHEST_STREAM_ID
        self._max_streams = options.max_streams
        self._returns_window = options.returns_window
        self._owed: list[tuple[int, int]] = []
        self._streams: dict[int, Stream] = {}
        self._whole: list[NumberedRequest] = []
        self._start: bytes | None = b""
        self._opened = 0
        self._ready: list[bytes] = []
        self._h2 = make_h2(options)
        self._on_event: Mapping[type[events.Event], Callable[[Any], None]] = {
            events.RequestReceived: self._on_headers,
            events.DataReceived: self._on_data,
            events.StreamEnded: self._on_end,
            events.StreamReset: self._on_reset,
            events.WindowUpdated: self._on_window,
            events.RemoteSettingsChanged: self._on_settings,
            events.ConnectionTerminated: self._on_goodbye,
        }

    @property
    def is_over(self) -> bool:
        """Whether to send what is left and close: the protocol was broken, or goodbye is said and all is answered."""
        if self._closes_when_drained:
            return not any(not stream.is_silent for stream in self._streams.values())
        return self._is_broken

    @property
    def newest_stream_id(self) -> int:
        """The highest stream that the client has opened; 0 before the first."""
        return self._h2.highest_inbound_stream_id

    @property
    def returns_window(self) -> bool:
        """Whether the client gets credit for what it sends."""
        return self._returns_window

    @returns_window.setter
    def returns_window(self, returns: bool) -> None:
        self._returns_window = returns
        if returns:
            owed, self._owed = self._owed, []
            for size, stream_id in owed:
                self._h2.acknowledge_received_data(size, stream_id)

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
            self._break()  # h2 has its GOAWAY ready
        whole, self._whole = self._whole, []
        return whole

    def is_left_out(self, stream_id: int) -> bool:
        """Tell whether a GOAWAY has promised that a stream is not processed."""
        return stream_id > self._last_stream_id

    def reply(
        self,
        stream_id: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        pieces: int = 1,
        ends_separately: bool = False,
    ) -> None:
        """Answer a stream, the body as far as the client's window lets it; a stream that is gone is passed over.

        Args:
            pieces: DATA frames that the body is cut into.
            ends_separately: The stream is ended by an empty DATA frame.
        """
        stream = self._streams.get(stream_id)
        if stream is None or self._is_broken:
            return
        self._h2.send_headers(stream_id, headers, end_stream=not body and not ends_separately)
        if body or ends_separately:
            stream.withheld, stream.ends_separately = body, ends_separately
            stream.piece_bytes = -(-len(body) // pieces) if pieces > 1 else 0
            self._send_body(stream_id, stream)
        else:
            del self._streams[stream_id]

    def reset(self, stream_id: int, error_code: int) -> None:
        """End a stream without an answer."""
        if self._streams.pop(stream_id, None) is not None and not self._is_broken:
            self._h2.reset_stream(stream_id, error_code)

    def silence(self, stream_id: int) -> None:
        """Never answer a stream; it stays open."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.is_silent = True

    def limit_streams(self, max_streams: int) -> None:
        """Announce another number of concurrent streams, if it is another."""
        if max_streams != self._max_streams and not self._is_broken:
            self._max_streams = max_streams
            self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: max_streams})

    def go_away(self, last_stream_id: int, *, error_code: int = 0, debug: bytes = b"", closes: bool = True) -> None:
        """Send GOAWAY: streams up to the last are still answered, later ones never.

        Args:
            closes: End the connection once those are answered; otherwise it stays open, and useless.
        """
        if self._is_broken:
            return
        # Not h2's own: after that one h2 answers nothing any more.
        frame = GoAwayFrame(0, last_stream_id=last_stream_id, error_code=error_code, additional_data=debug)
        self._ready += (self._h2.data_to_send(), frame.serialize())
        self._last_stream_id = min(last_stream_id, self._last_stream_id)
        self._closes_when_drained = self._closes_when_drained or closes
        self._streams = {each: stream for each, stream in self._streams.items() if each <= self._last_stream_id}

    def bytes_to_send(self) -> bytes:
        """Return what is ready for the client, once."""
        if not self._ready:
            return self._h2.data_to_send()
        ready, self._ready = self._ready, []
        return b"".join((*ready, self._h2.data_to_send()))

    def _break(self) -> None:
        self._is_broken = True
        self._closes_when_drained = False

    def _is_http2(self, received: bytes) -> bool:
        # Apple tells senders of HTTP/1 what they did, in a GOAWAY: Altaibaatar/APNS-with-auth-key-p8-using-PHP issue 2.
        start = self._start = (self._start or b"") + received
        if not PREFACE.startswith(start[: len(PREFACE)]):
            self._break()
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
        if event.stream_id > self._last_stream_id:
            return
        if len(self._streams) >= self._max_streams:
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
        elif header_list_bytes(event.headers) > MAX_HEADER_LIST_BYTES:
            self._h2.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
        else:
            self._streams[event.stream_id] = Stream(event.headers)

    def _on_data(self, event: events.DataReceived) -> None:
        if event.flow_controlled_length:
            if self._returns_window:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                self._owed.append((event.flow_controlled_length, event.stream_id))
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
            if stream.withheld:
                self._send_body(event.stream_id, stream)
        elif event.stream_id == 0:
            self._send_bodies()

    def _on_settings(self, _event: events.RemoteSettingsChanged) -> None:
        self._send_bodies()

    def _on_goodbye(self, _event: events.ConnectionTerminated) -> None:
        # h2 sends nothing more once the client has said GOAWAY, not even answers that are due.
        self._break()

    def _send_bodies(self) -> None:
        for stream_id, stream in list(self._streams.items()):
            if stream.withheld:
                self._send_body(stream_id, stream)

    def _send_body(self, stream_id: int, stream: Stream) -> None:
        while stream.withheld:
            window = self._h2.local_flow_control_window(stream_id)
            size = min(window, self._h2.max_outbound_frame_size, stream.piece_bytes or len(stream.withheld))
            if size <= 0:
                return
            piece, stream.withheld = stream.withheld[:size], stream.withheld[size:]
            is_end = not stream.withheld and not stream.ends_separately
            self._h2.send_data(stream_id, piece, end_stream=is_end)
        if stream.ends_separately:
            self._h2.send_data(stream_id, b"", end_stream=True)
        del self._streams[stream_id]
