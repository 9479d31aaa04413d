"""How payloads leave within both windows."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, RstStreamFrame

from tests.wire.pushes import AUTHORITY, make_request
from tests.wire.server_frames import connected, credit, joined, read_frames, reset, settings
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.events import RoomChanged, StreamReset
from workers.transport.wire.frames import MAX_WINDOW_BYTES, ErrorCode


def sent(connection: WireConnection) -> dict[int, bytes]:
    """Return the payloads that left since the last look, by stream."""
    payloads: dict[int, bytes] = {}
    for frame in read_frames(connection.data_to_send()):
        if isinstance(frame, DataFrame):
            payloads[frame.stream_id] = payloads.get(frame.stream_id, b"") + frame.data
    return payloads


def test_a_push_is_two_frames() -> None:
    """A push that fits is HEADERS and one DATA that ends the stream."""
    connection = connected()
    stream_id = connection.send_request(make_request(body=b"payload"))
    headers, payload = read_frames(connection.data_to_send())
    assert isinstance(headers, HeadersFrame)
    assert isinstance(payload, DataFrame)
    assert (payload.stream_id, payload.data, "END_STREAM" in payload.flags) == (stream_id, b"payload", True)
    assert connection.data_to_send() == b""


def test_no_payload() -> None:
    """A request without payload ends with its headers, whatever the windows."""
    connection = connected(INITIAL_WINDOW_SIZE=0)
    connection.send_request(make_request(body=b""))
    (headers,) = read_frames(connection.data_to_send())
    assert "END_STREAM" in headers.flags
    assert connection.unsent_bytes(1) == 0


def test_late_credit_for_the_connection() -> None:
    """4 kB payloads against 65,535 bytes: what is beyond waits, and leaves whole, oldest first, as credit comes."""
    connection = connected()
    for number in range(40):
        connection.send_request(make_request(number, body=b"%04d" % number * 1_024))
    payloads = sent(connection)
    assert sum(len(part) for part in payloads.values()) == 65_535
    assert connection.unsent_bytes(31) == 1
    while len(payloads.get(79, b"")) < 4_096:
        assert connection.receive_data(joined(credit(0, 1_000))) == [RoomChanged()]
        parts = sent(connection)
        assert sum(len(part) for part in parts.values()) <= 1_000
        for stream_id, part in parts.items():
            payloads[stream_id] = payloads.get(stream_id, b"") + part
    assert payloads == {1 + 2 * number: b"%04d" % number * 1_024 for number in range(40)}


def test_window_below_zero() -> None:
    """A smaller INITIAL_WINDOW_SIZE makes an open window negative; nothing leaves until it is positive again."""
    connection = connected(INITIAL_WINDOW_SIZE=100)
    connection.send_request(make_request(body=b"p" * 150))
    assert sent(connection) == {1: b"p" * 100}
    connection.receive_data(settings(INITIAL_WINDOW_SIZE=20))
    connection.receive_data(joined(credit(1, 80)))
    assert sent(connection) == {}
    assert connection.unsent_bytes(1) == 50
    connection.receive_data(joined(credit(1, 1)))
    assert sent(connection) == {1: b"p"}
    connection.receive_data(settings(INITIAL_WINDOW_SIZE=1_000))
    assert sent(connection) == {1: b"p" * 49}
    assert connection.unsent_bytes(1) == 0


def test_a_stream_without_credit_does_not_hold_up_others() -> None:
    """Credit of the connection passes over a stream that waits for its own."""
    connection = connected(INITIAL_WINDOW_SIZE=10)
    for number in range(2):
        connection.send_request(make_request(number, body=b"p" * 20))
    assert sent(connection) == {1: b"p" * 10, 3: b"p" * 10}
    connection.receive_data(joined(credit(3, 10), credit(0, 10)))
    assert sent(connection) == {3: b"p" * 10}


def test_long_payload_is_split() -> None:
    """No frame is longer than 16,384 bytes, also when the server would take longer ones."""
    connection = connected(MAX_FRAME_SIZE=2**20)
    connection.send_request(make_request(body=b"p" * 40_000))
    frames = read_frames(connection.data_to_send())[1:]
    assert [len(frame.data) for frame in frames if isinstance(frame, DataFrame)] == [16_384, 16_384, 7_232]
    assert ["END_STREAM" in frame.flags for frame in frames] == [False, False, True]


@pytest.mark.parametrize(("size", "continuations"), [(15_000, 0), (20_000, 1), (40_000, 2)])
def test_long_headers_are_continued(size: int, continuations: int) -> None:
    """A header block beyond one frame goes on in CONTINUATION, and only its last frame ends it."""
    connection = connected()
    connection.send_request(make_request(collapse_id=b"c" * size))
    first, *others = read_frames(connection.data_to_send())[:-1]
    assert isinstance(first, HeadersFrame)
    assert [type(frame) for frame in others] == [ContinuationFrame] * continuations
    ends = ["END_HEADERS" in frame.flags for frame in (first, *others)]
    assert ends == [False] * continuations + [True]


def test_reset_withdraws_a_payload() -> None:
    """What waits for a stream is dropped when either side resets it; a stream that is closed cannot be reset."""
    connection = connected(INITIAL_WINDOW_SIZE=1)
    for number in range(2):
        connection.send_request(make_request(number))
    connection.data_to_send()
    connection.reset_stream(1, ErrorCode.CANCEL)
    connection.reset_stream(1, ErrorCode.CANCEL)
    (frame,) = read_frames(connection.data_to_send())
    assert isinstance(frame, RstStreamFrame)
    connection.receive_data(joined(reset(3, ErrorCode.REFUSED_STREAM)))
    connection.receive_data(joined(credit(1, 100), credit(3, 100)))
    assert sent(connection) == {}
    assert connection.unsent_bytes(1) == connection.unsent_bytes(3) == 0


def test_too_much_credit_for_a_stream() -> None:
    """A stream window beyond 2**31 - 1 ends that stream; beyond our payload nobody counts."""
    connection = connected(INITIAL_WINDOW_SIZE=1)
    for number in range(2):
        connection.send_request(make_request(number))
    events = connection.receive_data(joined(credit(1, MAX_WINDOW_BYTES), credit(1, MAX_WINDOW_BYTES)))
    assert events[0] == StreamReset(stream_id=1, error_code=ErrorCode.FLOW_CONTROL_ERROR)


def test_credit_of_nothing_for_a_stream() -> None:
    """A WINDOW_UPDATE of 0 ends the stream it is for, and no other."""
    connection = connected()
    connection.send_request(make_request())
    raw = bytearray(joined(credit(1, 1)))
    raw[-1] = 0
    events = connection.receive_data(bytes(raw))
    assert events == [StreamReset(stream_id=1, error_code=ErrorCode.PROTOCOL_ERROR)]


def test_nothing_of_a_request_beyond_the_limit() -> None:
    """A request that is refused here leaves no byte and uses no stream number."""
    connection = WireConnection(authority=AUTHORITY)
    connection.send_request(make_request())
    before = connection.data_to_send()
    assert before
    with pytest.raises(Exception, match="1 streams are open"):
        connection.send_request(make_request())
    assert connection.data_to_send() == b""
