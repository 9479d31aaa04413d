"""TLS, HTTP/2 and what a connection does when something goes wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.dev.simulator import Form, special_device_token
from tests.simulator.probes import open_tls

if TYPE_CHECKING:
    from tests.simulator.client import Client
    from tests.simulator.running import RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
BAD = special_device_token(Form.BAD, 1)
SHORT_S = 0.2


def first_accepted(apns: RunningSimulator, client: Client) -> None:
    """Push once, so that the connection may use all its streams."""
    assert client.ask(apns.headers(), PAYLOAD).status == 200


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(min_size=1, max_size=200))
def test_garbage_harms_nobody_else(garbage: bytes, apns: RunningSimulator) -> None:
    """Whatever one client sends, another is served."""
    with open_tls(apns, ["h2"]) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + garbage)

    with apns.connect() as client:
        assert client.ask(apns.headers(), PAYLOAD).status in {200, 429}


def test_a_broken_protocol_is_said_goodbye_to(apns: RunningSimulator) -> None:
    """A frame that HTTP/2 forbids is answered with GOAWAY, and the connection closed."""
    with apns.connect() as client:
        first_accepted(apns, client)
        client.socket.sendall(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + b"\x00" * 4)  # WINDOW_UPDATE by nothing
        client.receive_until(lambda: client.is_closed)

        assert client.goodbye == b""


def test_stopping_does_not_wait_for_a_deaf_client(apns: RunningSimulator) -> None:
    """A client that never reacts to the goodbye is cut off, well before TLS would give up."""
    with apns.connect() as client:
        first_accepted(apns, client)
        started_at = time.monotonic()
        apns.wait_for(apns.simulator.stop)

    assert time.monotonic() - started_at < 3


def test_too_many_headers_end_the_stream_alone(apns: RunningSimulator) -> None:
    """T11: a header list above 8,000 bytes resets its stream; the connection goes on."""
    with apns.connect() as client:
        first_accepted(apns, client)
        reply = client.ask([*apns.headers(), ("x-long", "x" * 8_000)], PAYLOAD)

        assert reply.reset == ErrorCodes.PROTOCOL_ERROR
        assert client.ask(apns.headers(), PAYLOAD).status == 200


def test_a_stream_too_many_is_refused_alone(apns: RunningSimulator) -> None:
    """A client that did not wait for the stream limit loses the surplus streams, not the connection."""
    with apns.connect() as client:
        apns.call(apns.simulator.switches.hold.set)
        first, surplus = (client.replies[client.start(apns.headers(authorization=None), PAYLOAD)] for _ in range(2))
        client.receive_until(lambda: surplus.is_whole)
        apns.call(apns.simulator.switches.hold.clear)
        client.receive_until(lambda: first.is_whole)

        assert surplus.reset == ErrorCodes.REFUSED_STREAM
        assert first.reason == "MissingProviderToken"


def test_a_stream_window_withholds_its_body(apns: RunningSimulator) -> None:
    """A client whose initial window is smaller than a body gets it in pieces, as it opens the stream's window."""
    with apns.connect(acknowledges=False) as client:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        client.flush()
        stream_id = client.start(apns.headers(device_token=BAD), PAYLOAD)
        reply = client.replies[stream_id]
        client.receive_until(lambda: len(reply.body) == 10)
        client.http2.increment_flow_control_window(1_000, stream_id)
        client.flush()
        client.receive_until(lambda: reply.is_whole)

    assert reply.body == b'{"reason":"BadDeviceToken"}'


def test_payload_windows_are_given_back(apns: RunningSimulator) -> None:
    """T13: many times the connection's window of payloads can be sent over one connection."""
    payload = b'{"aps":{"alert":"' + b"x" * 4_000 + b'"}}'

    with apns.connect() as client:
        statuses = {client.ask(apns.headers(device_token="ab" * 32 + f"{n:04x}"), payload).status for n in range(80)}

    assert statuses == {200}


def test_a_reset_stream_is_forgotten(apns: RunningSimulator) -> None:
    """A push that its client gave up while the answer was held back does not disturb the others."""
    with apns.connect() as client:
        first_accepted(apns, client)
        apns.call(apns.simulator.switches.hold.set)
        stream_ids = [client.start(apns.headers(), PAYLOAD) for _ in range(2)]
        assert not client.is_answered_before(lambda: len(apns.lines()) == 3, client.replies[stream_ids[1]])
        client.http2.reset_stream(stream_ids[0], ErrorCodes.CANCEL)
        client.flush()
        apns.call(apns.simulator.switches.hold.clear)
        client.receive_until(lambda: client.replies[stream_ids[1]].is_whole)

        assert client.replies[stream_ids[0]].status == 0
        assert client.ask(apns.headers(), PAYLOAD).status == 200


def test_a_client_that_says_goodbye_is_left(apns: RunningSimulator) -> None:
    """After a client's GOAWAY the connection is closed."""
    with apns.connect() as client:
        first_accepted(apns, client)
        client.http2.close_connection()
        client.flush()
        client.receive_until(lambda: client.is_closed)


def test_stopping_says_goodbye(apns: RunningSimulator) -> None:
    """A simulator that stops sends GOAWAY with Apple's reason and closes."""
    with apns.connect() as client:
        first_accepted(apns, client)
        apns.wait_for(apns.simulator.stop)
        client.receive_until(lambda: client.is_closed)

    assert client.goodbye == b'{"reason":"Shutdown"}'


def test_held_answers_come_when_released(apns: RunningSimulator) -> None:
    """While answers are held back requests are judged and logged; released, all answers arrive."""
    with apns.connect() as client:
        first_accepted(apns, client)
        apns.call(apns.simulator.switches.hold.set)
        stream_ids = [client.start(apns.headers(device_token="ac" * 32 + f"{n:02x}"), PAYLOAD) for n in range(50)]
        replies = [client.replies[stream_id] for stream_id in stream_ids]

        assert not client.is_answered_before(lambda: len(apns.lines()) == 51, replies[0])
        assert [line["answered"] for line in apns.lines()] == [True] + [False] * 50

        apns.call(apns.simulator.switches.hold.clear)
        client.receive_until(lambda: all(reply.is_whole for reply in replies))

    assert {reply.status for reply in replies} == {200}


def test_swallowed_pushes_are_never_answered(apns: RunningSimulator) -> None:
    """R8: with the switch on, nothing comes back on the stream, and the log says so; the connection lives."""
    with apns.connect() as client:
        first_accepted(apns, client)
        apns.simulator.switches.swallow = True
        swallowed = client.replies[client.start(apns.headers(), PAYLOAD)]
        assert not client.is_answered_before(lambda: len(apns.lines()) == 2, swallowed)
        apns.simulator.switches.swallow = False

        assert client.ask(apns.headers(), PAYLOAD).status == 200
        assert not swallowed.is_whole

    assert [line["answered"] for line in apns.lines()] == [True, False, True]


def test_latency_delays_each_answer(apns: RunningSimulator) -> None:
    """An answer waits for the latency set, and others are not held up behind it."""
    apns.simulator.switches.latency_s = SHORT_S * 2

    with apns.connect() as client:
        reply = client.replies[client.start(apns.headers(), PAYLOAD)]
        assert not client.receives(lambda: reply.is_whole, SHORT_S)
        apns.simulator.switches.latency_s = 0
        client.receive_until(lambda: reply.is_whole)

    assert reply.status == 200
