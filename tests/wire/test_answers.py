"""What an answer becomes, in whatever frames it comes."""

from __future__ import annotations

import pytest
from hpack import Encoder
from hyperframe.frame import Frame, HeadersFrame, RstStreamFrame, WindowUpdateFrame

from tests.wire.pushes import AUTHORITY, make_request
from tests.wire.server_frames import (
    BAD_TOKEN,
    block,
    body,
    connected,
    continuation,
    headers,
    joined,
    plain_200,
    read_frames,
    reset,
    settings,
)
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.events import Answered, HeadersReceived, StreamReset
from workers.transport.wire.frames import ErrorCode

APNS_ID = (b"apns-id", b"0F1E2D3C-4B5A-4678-8796-A5B4C3D2E1F0")
REFUSED = Answered(stream_id=1, status=400, headers=dict([APNS_ID]), body=BAD_TOKEN)
REFUSED_BLOCK = block(APNS_ID, status=b"400")


def waiting(count: int = 1) -> WireConnection:
    """Return a connection with requests sent and read."""
    connection = connected()
    for number in range(count):
        connection.send_request(make_request(number))
    connection.data_to_send()
    return connection


@pytest.mark.parametrize(
    "header_block",
    [
        b"\x88",
        block(APNS_ID),
        b"\x88\x00\x07apns-id\x01x",
        b"\x88\x10\x07apns-id\x01x",
        b"\x88\x0f\x0d\x010",
        b"\x88\x40\x07apns-id\x01x",
        b"\x88\x00\x07apns-id\x7f\x00" + b"x" * 127,
        b"\x48\x03200",
    ],
    ids=["bare", "hpack", "literal", "never-indexed", "static-name", "inserted", "long-value", "literal-status"],
)
def test_accepted(header_block: bytes) -> None:
    """A 200 is an answer without body, however its headers are written."""
    (answered,) = waiting().receive_data(joined(headers(1, header_block, "END_STREAM")))
    assert isinstance(answered, Answered)
    assert (answered.stream_id, answered.status, answered.body) == (1, 200, b"")


@pytest.mark.parametrize(
    "frames",
    [
        [headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN, "END_STREAM")],
        [headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN[:5]), body(1, b""), body(1, BAD_TOKEN[5:], "END_STREAM")],
        [headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN), body(1, b"", "END_STREAM")],
        [headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN, "PADDED", "END_STREAM", padding=200)],
        [headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN, "PADDED", "END_STREAM", padding=0)],
        [headers(1, block(status=b"100")), headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN, "END_STREAM")],
        [headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN), headers(1, b"\x00\x01t\x01v", "END_STREAM")],
        [
            HeadersFrame(1, data=REFUSED_BLOCK[:1]),
            continuation(1, REFUSED_BLOCK[1:3]),
            continuation(1, b""),
            continuation(1, REFUSED_BLOCK[3:], "END_HEADERS"),
            body(1, BAD_TOKEN, "END_STREAM"),
        ],
        [
            HeadersFrame(1, data=REFUSED_BLOCK, flags=["END_HEADERS", "PADDED", "PRIORITY"], pad_length=9),
            body(1, BAD_TOKEN, "END_STREAM"),
        ],
    ],
    ids=["two", "split", "empty-end", "padded", "padded-by-0", "after-100", "trailers", "continued", "prioritised"],
)
@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_refused(frames: list[Frame], cut: int) -> None:
    """A refusal has its status, headers and body, however it is framed and wherever it is cut."""
    connection = waiting()
    raw = joined(*frames)
    events = [event for at in range(0, len(raw), cut) for event in connection.receive_data(raw[at : at + cut])]
    assert events == [HeadersReceived(stream_id=1, status=400), REFUSED]


def test_refused_without_body() -> None:
    """A refusal that ends with its headers is an answer."""
    events = waiting().receive_data(joined(headers(1, REFUSED_BLOCK, "END_STREAM")))
    assert events == [Answered(stream_id=1, status=400, headers=dict([APNS_ID]), body=b"")]


def test_answers_come_in_any_order() -> None:
    """Answers belong to their streams, not to the order of requests."""
    events = waiting(3).receive_data(joined(*[plain_200(stream_id) for stream_id in (5, 1, 3)]))
    assert [event.stream_id for event in events if isinstance(event, Answered)] == [5, 1, 3]


def test_reset_after_headers() -> None:
    """A reset after the headers still leaves the status known."""
    events = waiting().receive_data(joined(headers(1, REFUSED_BLOCK), reset(1, 2)))
    assert events == [HeadersReceived(stream_id=1, status=400), StreamReset(stream_id=1, error_code=2)]


def test_second_reset_is_ignored() -> None:
    """APNs resets what it refused a second time, for the payload that followed (RST 7, then RST 5)."""
    events = waiting().receive_data(joined(reset(1, 7), reset(1, 5)))
    assert events == [StreamReset(stream_id=1, error_code=ErrorCode.REFUSED_STREAM)]


def test_frames_after_our_reset_are_ignored() -> None:
    """What comes on a stream that we reset has no effect, but its headers keep the table right."""
    connection = waiting(2)
    connection.reset_stream(1, ErrorCode.CANCEL)
    encoder = Encoder()
    late = block(APNS_ID, status=b"410", encoder=encoder)
    next_one = block(APNS_ID, status=b"410", encoder=encoder)
    raw = joined(headers(1, late), body(1, BAD_TOKEN, "END_STREAM"), headers(3, next_one, "END_STREAM"))
    assert connection.receive_data(raw) == [Answered(stream_id=3, status=410, headers=dict([APNS_ID]), body=b"")]


def test_table_of_a_server_that_ignores_our_setting() -> None:
    """Insertions hidden in a 200 count: a later block may refer to them."""
    connection = waiting(2)
    encoder = Encoder()
    accepted = headers(1, block(APNS_ID, encoder=encoder), "END_STREAM")
    refused = headers(3, block(APNS_ID, status=b"400", encoder=encoder), "END_STREAM")
    last = connection.receive_data(joined(accepted, refused))[-1]
    assert last == Answered(stream_id=3, status=400, headers=dict([APNS_ID]), body=b"")


def test_long_body_is_cut() -> None:
    """A body beyond the limit is cut, and its stream goes on to its end."""
    connection = WireConnection(authority=AUTHORITY, max_body_bytes=10)
    connection.receive_data(settings())
    connection.send_request(make_request())
    raw = joined(headers(1, REFUSED_BLOCK), body(1, BAD_TOKEN), body(1, BAD_TOKEN, "END_STREAM"))
    answered = connection.receive_data(raw)[-1]
    assert isinstance(answered, Answered)
    assert answered.body == BAD_TOKEN[:10]


def test_early_answer_ends_the_payload() -> None:
    """A refusal before the payload was sent is the answer; the rest of the payload is withdrawn."""
    connection = connected()
    connection.send_request(make_request(body=b"p" * 100_000))
    connection.data_to_send()
    (answered,) = connection.receive_data(joined(headers(1, block(status=b"413"), "END_STREAM")))
    assert isinstance(answered, Answered)
    assert connection.unsent_bytes(1) == 0
    (frame,) = read_frames(connection.data_to_send())
    assert isinstance(frame, RstStreamFrame)
    assert frame.error_code == ErrorCode.CANCEL


@pytest.mark.parametrize(
    "frames",
    [
        [headers(1, b"\x00\x01a\x01b", "END_STREAM")],
        [headers(1, b"\x08\x03abc", "END_STREAM")],
        [headers(1, b"\x08\x041234", "END_STREAM")],
        [headers(1, block(status=b"099"), "END_STREAM")],
        [headers(1, block(status=b"100"), "END_STREAM")],
        [body(1, b"?")],
        [headers(1, REFUSED_BLOCK), headers(1, b"\x00\x01t\x01v")],
    ],
    ids=["no-status", "no-number", "four-digits", "below-100", "100-at-the-end", "body-first", "headers-twice"],
)
def test_malformed_answer_ends_its_stream_only(frames: list[Frame]) -> None:
    """What is wrong with one answer resets its stream; its neighbours are answered."""
    connection = waiting(2)
    events = connection.receive_data(joined(*frames, plain_200(3)))
    assert StreamReset(stream_id=1, error_code=ErrorCode.PROTOCOL_ERROR) in events
    assert isinstance(events[-1], Answered)
    (frame,) = read_frames(connection.data_to_send())
    assert isinstance(frame, RstStreamFrame)


def test_thousands_of_refusals_are_given_back() -> None:
    """Bodies are given back in bunches, so that refusals never use up the server's window."""
    connection = connected()
    given_back, refusals, padding = 0, 6_000, 255
    for number in range(refusals):
        stream_id = connection.send_request(make_request(number))
        content = body(stream_id, BAD_TOKEN, "PADDED", "END_STREAM", padding=padding)
        connection.receive_data(joined(headers(stream_id, REFUSED_BLOCK), content, credit_for_requests()))
        updates = [f for f in read_frames(connection.data_to_send()) if isinstance(f, WindowUpdateFrame)]
        given_back += sum(update.window_increment for update in updates)
    received = refusals * (len(BAD_TOKEN) + padding + 1)
    frames_per_bunch = 1_853  # of 283 bytes each, to half of the window
    assert given_back == received // (frames_per_bunch * 283) * frames_per_bunch * 283


def credit_for_requests() -> Frame:
    """Return what keeps our own payloads going."""
    return WindowUpdateFrame(0, window_increment=1_000)


def test_long_body_gets_stream_credit() -> None:
    """A body longer than the window of its stream is let through."""
    connection = waiting()
    connection.receive_data(joined(headers(1, REFUSED_BLOCK)))
    for _ in range(10):
        connection.receive_data(joined(body(1, b"h" * 16_384)))
    frames = read_frames(connection.data_to_send())
    updates = [f.window_increment for f in frames if isinstance(f, WindowUpdateFrame) and f.stream_id == 1]
    assert sum(updates) >= 10 * 16_384 - 65_535 // 2
