"""Our connection and h2's server at both ends of a line that delivers bytes when a schedule says so."""

from __future__ import annotations

from dataclasses import dataclass, field

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import ExtensionFrame, GoAwayFrame

from tests.wire.pushes import AUTHORITY, Fields, fields_of
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.events import Answered, Event, GoingAway, HeadersReceived, Ponged, StreamReset
from workers.transport.wire.request import WireRequest


@dataclass(kw_only=True)
class Seen:
    """What has become of one request, at both ends."""

    request: WireRequest
    fields: Fields | None = None
    body: bytes = b""
    is_whole: bool = False
    answer: tuple[int, Fields, bytes] | None = None
    unsent_answer: bytes = b""
    is_answer_open: bool = False
    is_over: bool = False
    is_disclaimed: bool = False


@dataclass(kw_only=True)
class Exchange:
    """The two ends and the bytes between them.

    Attributes:
        ignores_table_size: Whether the server goes on with a table of 4,096 bytes in spite of our setting.
    """

    ignores_table_size: bool = False
    client: WireConnection = field(default_factory=lambda: WireConnection(authority=AUTHORITY))
    server: H2Connection = field(
        default_factory=lambda: H2Connection(H2Configuration(client_side=False, header_encoding=None))
    )
    to_server: bytes = b""
    to_client: bytes = b""
    seen: dict[int, Seen] = field(default_factory=dict)
    pings: list[bytes] = field(default_factory=list)
    is_going_away: bool = False
    unacknowledged: bool = True

    def __post_init__(self) -> None:
        """Let the server speak first, as a real one may."""
        self.server.initiate_connection()
        self._collect()

    # -- the line

    def deliver_to_server(self, most: int = 2**30) -> None:
        """Carry some bytes to the server, and note what it reads."""
        self._collect()
        part, self.to_server = self.to_server[:most], self.to_server[most:]
        for event in self.server.receive_data(part):
            self._note_at_server(event)
        self._collect()

    def deliver_to_client(self, most: int = 2**30) -> None:
        """Carry some bytes to the client, and judge what it reads."""
        self._collect()
        part, self.to_client = self.to_client[:most], self.to_client[most:]
        for event in self.client.receive_data(part):
            self._note_at_client(event)
        self._collect()

    def deliver_all(self) -> None:
        """Carry everything until both ends are quiet."""
        self._collect()
        while self.to_server or self.to_client:
            self.deliver_to_server()
            self.deliver_to_client()

    def _collect(self) -> None:
        self.to_server += self.client.data_to_send()
        self.to_client += self.server.data_to_send()

    # -- what the client does

    def request(self, request: WireRequest) -> int | None:
        """Send a request when there is room."""
        if not self.client.room:
            return None
        stream_id = self.client.send_request(request)
        assert stream_id not in self.seen
        self.seen[stream_id] = Seen(request=request)
        return stream_id

    def reset_by_client(self, stream_id: int) -> None:
        """Withdraw a request."""
        self.client.reset_stream(stream_id, ErrorCodes.CANCEL)
        self.seen[stream_id].is_over = True

    # -- what the server does

    def answerable(self) -> list[int]:
        """Return the streams the server knows and has not answered."""
        return [
            stream_id
            for stream_id, seen in self.seen.items()
            if seen.fields is not None and seen.answer is None and stream_id in self._open_at_server()
        ]

    def answer(self, stream_id: int, status: int, fields: Fields, body: bytes, *, is_early: bool = False) -> None:
        """Begin an answer, with a 100 before it if `is_early`; a body is sent by `send_body`."""
        if is_early:
            self.server.send_headers(stream_id, [(b":status", b"100")])
        self.server.send_headers(stream_id, [(b":status", b"%d" % status), *fields], end_stream=not body)
        seen = self.seen[stream_id]
        seen.answer, seen.unsent_answer, seen.is_answer_open = (status, fields, body), body, bool(body)

    def send_body(self, stream_id: int, most: int, *, padding: int | None = None, trailers: bool = False) -> None:
        """Send a part of the body of an answer, as far as our windows allow."""
        seen = self.seen[stream_id]
        if not seen.is_answer_open or stream_id not in self._open_at_server():
            return
        overhead = 0 if padding is None else padding + 1
        most = min(most, self.server.local_flow_control_window(stream_id) - overhead, 16_384 - overhead)
        part, rest = seen.unsent_answer[: max(most, 0)], seen.unsent_answer[max(most, 0) :]
        if not part:
            return
        self.server.send_data(stream_id, part, end_stream=not rest and not trailers, pad_length=padding)
        if not rest and trailers:
            self.server.send_headers(stream_id, [(b"apns-trailer", b"1")], end_stream=True)
        seen.unsent_answer, seen.is_answer_open = rest, bool(rest)

    def reset_by_server(self, stream_id: int, error_code: int) -> None:
        """Reset a stream."""
        if stream_id in self._open_at_server():
            self.server.reset_stream(stream_id, error_code)

    def add_credit(self, increment: int, stream_id: int | None = None) -> None:
        """Give credit for the connection or one stream."""
        if stream_id is None or stream_id in self._open_at_server():
            self.server.increment_flow_control_window(increment, stream_id)

    def change_setting(self, code: SettingCodes, value: int) -> None:
        """Change a setting of the server, once the last change is acknowledged: h2 takes one for the other's."""
        if not self.unacknowledged:
            self.unacknowledged = True
            self.server.update_settings({code: value})

    def say_goodbye(self, last_stream_id: int) -> None:
        """Send a GOAWAY past h2, which could not go on after its own."""
        self._collect()
        self.to_client += GoAwayFrame(last_stream_id=last_stream_id, additional_data=b"{}").serialize()

    def send_unknown_frame(self) -> None:
        """Send a frame of a type that nobody knows."""
        self._collect()
        unknown = ExtensionFrame(type=0xBB, stream_id=0, flag_byte=0xFF, body=b"?" * 20)
        unknown.body_len = len(unknown.body)  # hyperframe counts it for other frames only
        self.to_client += unknown.serialize()

    def _open_at_server(self) -> dict[int, object]:
        return {stream_id: stream for stream_id, stream in self.server.streams.items() if stream.open}

    # -- what they read

    def _note_at_server(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.SettingsAcknowledged):
            self.unacknowledged = False
        elif isinstance(event, h2.events.RemoteSettingsChanged) and self.ignores_table_size:
            self.server.encoder = Encoder()
        elif isinstance(event, h2.events.RequestReceived):
            seen = self.seen[event.stream_id]
            seen.fields = sorted((bytes(name), bytes(value)) for name, value in event.headers)
            assert seen.fields == fields_of(seen.request)
        elif isinstance(event, h2.events.DataReceived):
            seen = self.seen[event.stream_id]
            seen.body += event.data
            assert seen.request.body.startswith(seen.body)
        elif isinstance(event, h2.events.StreamEnded):
            seen = self.seen[event.stream_id]
            assert seen.body == seen.request.body
            seen.is_whole = True

    def _note_at_client(self, event: Event) -> None:
        if isinstance(event, Answered):
            seen = self.seen[event.stream_id]
            assert not seen.is_over
            assert seen.answer is not None
            status, fields, body = seen.answer
            assert (event.status, event.body) == (status, body)
            assert event.headers == dict(fields) or (status == 200 and not event.headers)
            seen.is_over = True
        elif isinstance(event, HeadersReceived):
            answer = self.seen[event.stream_id].answer
            assert answer is not None
            assert answer[0] == event.status
        elif isinstance(event, StreamReset):
            assert not self.seen[event.stream_id].is_over
            self.seen[event.stream_id].is_over = True
        elif isinstance(event, Ponged):
            assert event.payload == self.pings.pop(0)
        elif isinstance(event, GoingAway):
            self.is_going_away = True
            for stream_id, seen in self.seen.items():
                if stream_id > event.last_stream_id and not seen.is_over:
                    seen.is_over = seen.is_disclaimed = True

    # -- the end

    def settle(self) -> None:
        """Give every credit and every answer, and see that nothing is left over, lost or misread."""
        self.deliver_all()
        self.change_setting(SettingCodes.INITIAL_WINDOW_SIZE, 2**20)
        self.deliver_all()
        self.add_credit(2**24)
        self.deliver_all()
        for stream_id in self._waiting():
            self.add_credit(2**20, stream_id)
        self.deliver_all()
        for stream_id in self._waiting():
            assert self.seen[stream_id].is_whole or self.seen[stream_id].answer is not None
            assert self.client.unsent_bytes(stream_id) == 0
        for stream_id in self.answerable():
            self.answer(stream_id, 200, [(b"apns-id", b"1")], b"")
        while any(self.seen[stream_id].is_answer_open for stream_id in self._waiting()):
            for stream_id in self._waiting():
                self.send_body(stream_id, 2**16)
            self.deliver_all()
        self.deliver_all()
        assert self._waiting() == []
        assert not self.pings

    def _waiting(self) -> list[int]:
        return [stream_id for stream_id, seen in self.seen.items() if not seen.is_over]

    def check_tables(self) -> None:
        """Compare the HPACK tables of both ends, in both directions; every block must have been read."""
        ours = self.client._encoder.table.entries()  # noqa: SLF001 - no caller needs to know, only this proof
        assert ours == [(bytes(name), bytes(value)) for name, value in self.server.decoder.header_table.dynamic_entries]
        decoder = self.client._streams._decoder._hpack  # noqa: SLF001 - as above
        assert decoder.header_table.dynamic_entries == self.server.encoder.header_table.dynamic_entries
