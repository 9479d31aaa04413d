"""How a server can break HTTP/2, and what it is told then."""

from __future__ import annotations

from typing import Final

import pytest
from hyperframe.frame import HeadersFrame, PriorityFrame, PushPromiseFrame, SettingsFrame

from tests.wire.pushes import AUTHORITY, make_request
from tests.wire.server_frames import (
    block,
    body,
    connected,
    continuation,
    credit,
    headers,
    joined,
    plain_200,
    reset,
    settings,
)
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.events import Answered, StreamReset
from workers.transport.wire.frames import MAX_WINDOW_BYTES, ErrorCode, pack_header

PROTOCOL: Final = ErrorCode.PROTOCOL_ERROR
SIZE: Final = ErrorCode.FRAME_SIZE_ERROR
FLOW: Final = ErrorCode.FLOW_CONTROL_ERROR
COMPRESSION: Final = ErrorCode.COMPRESSION_ERROR
CALM: Final = ErrorCode.ENHANCE_YOUR_CALM


def raw_frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream_id: int = 0) -> bytes:
    """Return a frame that no library would write."""
    return pack_header(len(payload) << 8 | kind, flags, stream_id) + payload


def setting(code: int, value: int) -> bytes:
    """Return a SETTINGS frame with any value."""
    return raw_frame(4, code.to_bytes(2) + value.to_bytes(4))


#: A block that inserts a long field, then refers to it until its list is beyond every limit.
BOMB: Final = b"\x88\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000 + b"\xbe" * 100

FAULTS: Final = {
    "no-http2": (b"HTTP/1.1 400 Bad Request\r\n\r\n", SIZE),
    "frame-too-long": (pack_header(16_385 << 8, 0, 1), SIZE),
    "settings-on-a-stream": (raw_frame(4, stream_id=1), PROTOCOL),
    "settings-of-a-wrong-length": (raw_frame(4, b"\0" * 5), SIZE),
    "settings-ack-with-content": (raw_frame(4, b"\0" * 6, flags=1), SIZE),
    "settings-push": (setting(2, 1), PROTOCOL),
    "settings-window": (setting(4, 2**31), FLOW),
    "settings-frame-too-small": (setting(5, 16_383), PROTOCOL),
    "settings-frame-too-large": (setting(5, 2**24), PROTOCOL),
    "push-promise": (joined(PushPromiseFrame(1, promised_stream_id=2, data=b"\x82", flags=["END_HEADERS"])), PROTOCOL),
    "ping-on-a-stream": (raw_frame(6, b"12345678", stream_id=1), PROTOCOL),
    "ping-of-a-wrong-length": (raw_frame(6, b"1234567"), SIZE),
    "goaway-on-a-stream": (raw_frame(7, b"\0" * 8, stream_id=1), PROTOCOL),
    "goaway-of-a-wrong-length": (raw_frame(7, b"\0" * 7), SIZE),
    "credit-of-a-wrong-length": (raw_frame(8, b"\0" * 3), SIZE),
    "credit-of-nothing": (raw_frame(8, b"\0" * 4), PROTOCOL),
    "credit-beyond-all": (joined(credit(0, MAX_WINDOW_BYTES)), FLOW),
    "credit-for-an-idle-stream": (joined(credit(9, 1)), PROTOCOL),
    "reset-of-an-idle-stream": (joined(reset(9, 8)), PROTOCOL),
    "reset-of-the-connection": (raw_frame(3, b"\0" * 4), PROTOCOL),
    "reset-of-a-wrong-length": (raw_frame(3, b"\0" * 5, stream_id=1), SIZE),
    "data-on-the-connection": (raw_frame(0, b"x"), PROTOCOL),
    "data-on-an-idle-stream": (joined(body(9, b"x")), PROTOCOL),
    "data-all-padding": (raw_frame(0, b"\x05abcd", flags=8, stream_id=1), PROTOCOL),
    "data-padded-by-nothing": (raw_frame(0, b"", flags=8, stream_id=1), PROTOCOL),
    "headers-on-the-connection": (raw_frame(1, b"\x88", flags=4), PROTOCOL),
    "headers-on-the-connection-to-go-on": (raw_frame(1, b"\x88"), PROTOCOL),
    "headers-on-an-idle-stream": (joined(headers(9, b"\x88")), PROTOCOL),
    "headers-on-a-stream-of-the-server": (joined(headers(2, b"\x88")), PROTOCOL),
    "headers-all-padding": (raw_frame(1, b"\x02\x88", flags=0xC, stream_id=1), PROTOCOL),
    "headers-too-short-for-a-priority": (raw_frame(1, b"\x88", flags=0x24, stream_id=1), SIZE),
    "continuation-of-nothing": (joined(continuation(1, b"\x88", "END_HEADERS")), PROTOCOL),
    "continuation-of-another-stream": (joined(HeadersFrame(1, data=b"\x88"), continuation(3, b"")), PROTOCOL),
    "block-interrupted": (joined(HeadersFrame(1, data=b"\x88"), body(1, b"x")), PROTOCOL),
    "block-interrupted-by-headers": (joined(HeadersFrame(1, data=b"\x88"), headers(3, b"\x88")), PROTOCOL),
    "block-of-many-parts": (joined(HeadersFrame(1, data=b"\x88"), *[continuation(1, b"")] * 8_000), CALM),
    "block-too-long": (joined(HeadersFrame(1, data=b"\x88"), *[continuation(1, b"x" * 16_384)] * 4), CALM),
    "block-with-an-unknown-index": (joined(headers(1, b"\x88\xff\x7f")), COMPRESSION),
    "block-cut-short": (joined(headers(1, b"\x88\x00\x07apn")), COMPRESSION),
    "block-with-a-late-resize": (joined(headers(1, b"\x88\x20")), COMPRESSION),
    "block-with-a-table-too-large": (joined(headers(1, b"\x3f\xe2\x1f\x88")), COMPRESSION),
    "block-with-a-bomb": (joined(headers(1, BOMB)), COMPRESSION),
}


def receive(connection: WireConnection, raw: bytes, cut: int) -> None:
    """Let a connection read bytes in parts."""
    for start in range(0, len(raw), cut):
        connection.receive_data(raw[start : start + cut])


@pytest.mark.parametrize("cut", [1, 100_000])
@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str, cut: int) -> None:
    """Each breach is a ProtocolError with the error code of the standard, at once and from then on."""
    raw, error_code = FAULTS[name]
    connection = connected()
    for number in range(2):
        connection.send_request(make_request(number))
    with pytest.raises(ProtocolError) as fault:
        receive(connection, raw, cut)
    assert fault.value.error_code == error_code
    with pytest.raises(ProtocolError) as again:
        connection.receive_data(joined(plain_200(1)))
    assert again.value.error_code == error_code


@pytest.mark.parametrize(
    "raw",
    [joined(headers(1, b"\x88")), raw_frame(4, flags=1), b"\x15\x03\x01\x00\x02\x02\x28" + b"\0" * 9],
    ids=["headers", "acknowledgement", "tls-alert"],
)
def test_the_first_frame_is_settings(raw: bytes) -> None:
    """A server that does not begin with SETTINGS speaks another language."""
    with pytest.raises(ProtocolError):
        WireConnection(authority=AUTHORITY).receive_data(raw)


def test_what_was_understood_is_handed_over() -> None:
    """Answers in the same read as a broken frame are not lost."""
    connection = connected()
    for number in range(2):
        connection.send_request(make_request(number))
    with pytest.raises(ProtocolError) as fault:
        connection.receive_data(joined(plain_200(1), reset(3, 7)) + b"HTTP/1.1 500")
    first, second = fault.value.events
    assert isinstance(first, Answered)
    assert second == StreamReset(stream_id=3, error_code=7)


def test_window_changes_beyond_all() -> None:
    """INITIAL_WINDOW_SIZE must not push an open window beyond 2**31 - 1."""
    connection = connected(INITIAL_WINDOW_SIZE=1)
    connection.send_request(make_request())
    with pytest.raises(ProtocolError) as fault:
        connection.receive_data(joined(credit(1, MAX_WINDOW_BYTES)) + settings(INITIAL_WINDOW_SIZE=2))
    assert fault.value.error_code == FLOW


@pytest.mark.parametrize(
    "raw",
    [
        raw_frame(0xBB, b"?" * 20, flags=0xFF, stream_id=7),
        joined(PriorityFrame(3, depends_on=0)),
        raw_frame(10, b"altsvc"),
        setting(0x4242, 7),
        joined(SettingsFrame(0, flags=["ACK"])),
        b"",
        joined(body(1, b"late", "END_STREAM"), headers(1, block(status=b"410")), credit(1, 1), reset(1, 5)),
    ],
    ids=["unknown", "priority", "altsvc", "setting", "ack", "nothing", "closed-stream"],
)
def test_what_is_ignored(raw: bytes) -> None:
    """What nobody knows, or nobody waits for any more, has no effect on the streams that are open."""
    connection = connected()
    for number in range(2):
        connection.send_request(make_request(number))
    connection.receive_data(joined(plain_200(1)))
    events = connection.receive_data(raw + joined(plain_200(3)))
    assert [event.stream_id for event in events if isinstance(event, Answered)] == [3]
