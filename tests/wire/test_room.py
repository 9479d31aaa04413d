"""How many streams may be opened, and when none."""

from __future__ import annotations

import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame

from tests.wire.pushes import AUTHORITY, make_request
from tests.wire.server_frames import connected, credit, headers, joined, plain_200, read_frames, settings
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.errors import HeadersTooLarge, NoStreamLeft, StreamLimitReached
from workers.transport.wire.events import Answered, GoingAway, Ponged, RoomChanged
from workers.transport.wire.frames import LAST_STREAM_ID, PREFACE, ErrorCode


def goodbye(last_stream_id: int, debug: bytes = b"") -> bytes:
    """Return a GOAWAY."""
    return joined(GoAwayFrame(0, last_stream_id=last_stream_id, additional_data=debug))


def test_opening() -> None:
    """The preface and our settings are ready at once; pushing is off and no table is asked for."""
    raw = WireConnection(authority=AUTHORITY).data_to_send()
    assert raw.startswith(PREFACE)
    ours = read_frames(raw[len(PREFACE) :])[0]
    assert isinstance(ours, SettingsFrame)
    assert (ours.settings[SettingsFrame.HEADER_TABLE_SIZE], ours.settings[SettingsFrame.ENABLE_PUSH]) == (0, 0)


def test_one_stream_before_the_settings() -> None:
    """Until the server has spoken there is room for one stream."""
    connection = WireConnection(authority=AUTHORITY)
    assert connection.room == 1
    connection.send_request(make_request())
    assert connection.room == 0


def test_settings_make_room() -> None:
    """The server's limit is taken over, acknowledged and told, as often as it changes."""
    connection = WireConnection(authority=AUTHORITY)
    assert connection.receive_data(settings(MAX_CONCURRENT_STREAMS=1)) == [RoomChanged()]
    assert connection.room == 1
    connection.data_to_send()
    assert connection.receive_data(settings(MAX_CONCURRENT_STREAMS=500)) == [RoomChanged()]
    assert connection.room == 500
    assert connection.receive_data(settings(MAX_CONCURRENT_STREAMS=2)) == []
    assert connection.room == 2
    acknowledgements = read_frames(connection.data_to_send())
    assert ["ACK" in frame.flags for frame in acknowledgements] == [True, True]


def test_no_limit_stated() -> None:
    """A server that states no limit gets as many streams as APNs is known to allow."""
    connection = WireConnection(authority=AUTHORITY)
    connection.receive_data(settings())
    assert connection.room == 1_000


def test_limit_below_what_is_open() -> None:
    """A limit below the open streams leaves no room, and takes none of them away."""
    connection = connected()
    for number in range(3):
        connection.send_request(make_request(number))
    connection.receive_data(settings(MAX_CONCURRENT_STREAMS=1))
    assert connection.room == 0
    with pytest.raises(StreamLimitReached):
        connection.send_request(make_request())
    assert len(connection.receive_data(joined(plain_200(1), plain_200(3), plain_200(5)))) == 3
    assert connection.room == 1


def test_no_room_without_window() -> None:
    """Once the connection's window is used up there is no room, until credit comes."""
    connection = connected()
    connection.send_request(make_request(body=b"p" * 65_536))
    assert connection.room == 0
    assert connection.receive_data(joined(credit(0, 10), credit(1, 10))) == [RoomChanged()]
    assert connection.room == 999
    assert connection.unsent_bytes(1) == 0


def test_numbers_run_out() -> None:
    """The last stream number is used, and then no other."""
    connection = WireConnection(authority=AUTHORITY, first_stream_id=LAST_STREAM_ID - 2)
    connection.receive_data(settings())
    assert connection.room == 2
    assert connection.send_request(make_request()) == LAST_STREAM_ID - 2
    assert not connection.is_exhausted
    assert connection.send_request(make_request()) == LAST_STREAM_ID
    assert connection.is_exhausted
    assert connection.room == 0
    with pytest.raises(NoStreamLeft):
        connection.send_request(make_request())


def test_goaway() -> None:
    """Streams up to the last one named are still answered, the others are gone, and no new one is opened."""
    connection = connected()
    for number in range(3):
        connection.send_request(make_request(number))
    (event,) = connection.receive_data(goodbye(3, b'{"reason":"Shutdown"}'))
    assert event == GoingAway(last_stream_id=3, error_code=0, debug_data=b'{"reason":"Shutdown"}')
    assert connection.is_going_away
    assert connection.room == 0
    with pytest.raises(NoStreamLeft):
        connection.send_request(make_request())
    events = connection.receive_data(joined(plain_200(3), plain_200(5), plain_200(1)))
    assert [event.stream_id for event in events if isinstance(event, Answered)] == [3, 1]


@pytest.mark.parametrize(("first", "second", "ends_at"), [(LAST_STREAM_ID, 1, 1), (0, 5, 0)])
def test_two_goaways(first: int, second: int, ends_at: int) -> None:
    """A warning is followed by the end; what was disclaimed once stays disclaimed."""
    connection = connected()
    connection.send_request(make_request())
    events = connection.receive_data(goodbye(first) + goodbye(second))
    assert [event.last_stream_id for event in events if isinstance(event, GoingAway)] == [first, ends_at]
    assert len(connection.receive_data(joined(plain_200(1)))) == min(ends_at, 1)


def test_our_goodbye() -> None:
    """After our own GOAWAY open streams are answered and there is no room."""
    connection = connected()
    connection.send_request(make_request())
    connection.data_to_send()
    connection.go_away(ErrorCode.PROTOCOL_ERROR)
    (frame,) = read_frames(connection.data_to_send())
    assert isinstance(frame, GoAwayFrame)
    assert (frame.error_code, frame.last_stream_id) == (ErrorCode.PROTOCOL_ERROR, 0)
    assert connection.room == 0
    assert len(connection.receive_data(joined(plain_200(1)))) == 1


def test_pings() -> None:
    """A PING is answered; the answer to ours is told."""
    connection = connected()
    connection.ping(b"are you?")
    events = connection.receive_data(joined(PingFrame(0, b"12345678"), PingFrame(0, b"are you?", flags=["ACK"])))
    assert events == [Ponged(payload=b"are you?")]
    ours, answer = read_frames(connection.data_to_send())
    assert isinstance(answer, PingFrame)
    assert ("ACK" in ours.flags, "ACK" in answer.flags, answer.opaque_data) == (False, True, b"12345678")


def test_ping_of_a_wrong_length() -> None:
    """A PING that is not eight bytes is the caller's fault, and is not sent."""
    connection = connected()
    with pytest.raises(ValueError, match="eight"):
        connection.ping(b"short")
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("excess", [0, 1])
def test_header_list_limit(excess: int) -> None:
    """The server's limit on headers is kept to the byte, and a request beyond it costs nothing but itself."""
    request = make_request(expiration=b"1800000000", collapse_id=b"c")
    fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", AUTHORITY.encode())]
    fields += [(b":path", request.path), (b"authorization", request.authorization), (b"apns-topic", request.topic)]
    fields += [(b"apns-push-type", request.push_type), (b"apns-priority", request.priority)]
    fields += [(b"apns-id", request.apns_id), (b"apns-expiration", b"1800000000"), (b"apns-collapse-id", b"c")]
    limit = sum(len(name) + len(value) + 32 for name, value in fields) - excess
    connection = connected(MAX_HEADER_LIST_SIZE=limit)
    if excess:
        with pytest.raises(HeadersTooLarge):
            connection.send_request(request)
        assert connection.send_request(make_request()) == 1
    else:
        assert connection.send_request(request) == 1


def test_answered_streams_make_room() -> None:
    """Each stream that ends can be opened anew."""
    connection = connected(MAX_CONCURRENT_STREAMS=1)
    for number in range(3):
        stream_id = connection.send_request(make_request(number))
        assert connection.room == 0
        connection.receive_data(joined(headers(stream_id, b"\x88", "END_STREAM")))
        assert connection.room == 1
