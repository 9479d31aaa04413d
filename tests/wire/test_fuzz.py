"""Arbitrary bytes from a server: nothing but ProtocolError comes of them."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.exchange import Exchange
from tests.wire.pushes import AUTHORITY, make_request
from tests.wire.test_exchanges import IS_LONG
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.frames import pack_header

EXAMPLES: Final = 100_000 if IS_LONG else 1_000
GREETING: Final = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"

#: Numbers that mean something in HTTP/2, so that arbitrary frames come further than their first check.
PAYLOADS: Final = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from(
            [b"\x88", b"\x20", b"\x3f\xe1\x1f", b"\x40\x01a\x01b", b"\xbe", b"\x0f\x0d\x010", b"\x00\x00\x00\x00"]
        )
    ).map(b"".join),
    st.lists(st.integers(1, 6).flatmap(lambda code: st.integers(0, 2**32 - 1).map(lambda v: _setting(code, v)))).map(
        b"".join
    ),
)


def _setting(code: int, value: int) -> bytes:
    return code.to_bytes(2) + value.to_bytes(4)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return pack_header(len(payload) << 8 | kind, flags, stream_id) + payload


FRAMES: Final = st.lists(
    st.builds(
        _frame,
        st.integers(0, 10),
        st.one_of(st.sampled_from([0, 1, 4, 5, 8, 13, 0x2D]), st.integers(0, 255)),
        st.sampled_from([0, 1, 3, 5, 2, 2**31 - 1, 2**31]),
        PAYLOADS,
    ),
    max_size=12,
).map(b"".join)


def feed(stream: bytes, cut: int) -> None:
    """Feed a connection with open streams what a server might send, in parts: the fuzz target.

    Only ProtocolError may come of it, which then comes again; a hang is left to the time limit of the tests.
    """
    connection = WireConnection(authority=AUTHORITY)
    connection.receive_data(GREETING)
    for number in range(3):
        connection.send_request(make_request(number, body=b"p" * 30_000))
    faults: list[ProtocolError] = []
    for start in range(0, len(stream), cut):
        try:
            connection.receive_data(stream[start : start + cut])
        except ProtocolError as exc:
            faults.append(exc)
        connection.data_to_send()
    assert all((fault.error_code, fault.events) == (faults[0].error_code, []) for fault in faults[1:])
    assert connection.room >= 0


def _transcript() -> bytes:
    """Record what a lively h2 server sends: answers with bodies and trailers, settings, a ping, a reset, a goodbye."""
    exchange = Exchange()
    exchange.deliver_all()
    exchange.request(make_request(1))
    exchange.deliver_all()
    exchange.answer(1, 400, [(b"apns-id", b"1")], b'{"reason":"BadDeviceToken"}', is_early=True)
    exchange.server.ping(b"12345678")
    exchange.send_body(1, 10)
    exchange.send_body(1, 2**16, padding=7, trailers=True)
    exchange.add_credit(100_000)
    exchange.send_unknown_frame()
    exchange.say_goodbye(2**31 - 1)
    return exchange.to_client


LIVELY: Final = _transcript()


@pytest.mark.timeout(7_200 if IS_LONG else 120)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(noise=st.binary(max_size=200), cut=st.integers(1, 50))
def test_noise_is_a_protocol_error_or_nothing(noise: bytes, cut: int) -> None:
    """Bytes that are no HTTP/2 raise nothing but ProtocolError."""
    feed(noise, cut)


@pytest.mark.timeout(7_200 if IS_LONG else 120)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames=FRAMES, cut=st.integers(1, 200))
def test_frames_in_any_order_are_a_protocol_error_or_nothing(frames: bytes, cut: int) -> None:
    """Frames of any type, flags, stream and content raise nothing but ProtocolError."""
    feed(frames, cut)


@pytest.mark.timeout(7_200 if IS_LONG else 120)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    places=st.lists(st.tuples(st.integers(0, len(LIVELY) - 1), st.integers(0, 255)), max_size=6),
    lost=st.integers(0, len(LIVELY)),
    cut=st.integers(1, 200),
)
def test_a_damaged_conversation_is_a_protocol_error_or_nothing(
    places: list[tuple[int, int]], lost: int, cut: int
) -> None:
    """A real conversation with some bytes changed and one lost raises nothing but ProtocolError."""
    damaged = bytearray(LIVELY)
    for place, octet in places:
        damaged[place] = octet
    del damaged[lost : lost + 1]
    feed(bytes(damaged), cut)
