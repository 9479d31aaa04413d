"""A stored record is read back as it was written, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import record
from dispatcher.errors import MessageError
from dispatcher.notification import Report
from dispatcher.push_types import PUSH_TYPES, Environment
from dispatcher.record import Record

records = st.builds(
    Record,
    app=st.text(min_size=1, max_size=40),
    environment=st.sampled_from(Environment),
    push_type=st.sampled_from(list(PUSH_TYPES)),
    device_tokens=st.lists(st.binary(min_size=1, max_size=40).map(bytes.hex), min_size=1, max_size=9).map(tuple),
    payload=st.binary(max_size=100),
    priority=st.sampled_from([1, 5, 10]),
    expiration=st.none() | st.integers(0, 10**11),
    expires_in=st.none() | st.floats(0.1, 1e6),
    send_at=st.none() | st.floats(0, 1e11),
    collapse_id=st.none() | st.text(max_size=64),
    version=st.none() | st.integers(0, 2**53),
    track=st.booleans(),
    report=st.sampled_from(Report),
)


@given(records)
def test_round_trip(written: Record) -> None:
    """What was encoded is decoded, byte for byte, whatever the payload holds."""
    assert record.decode(record.encode(written)) == written


@pytest.mark.parametrize(
    "stored", [b"", b"\n", b"{}\n", b"[]\nx", b'{"v":2}\nx', b'{"v":1}\nx', b"\xff\xfe\nx", b"garbage", b'{"v":1}']
)
def test_unreadable_records(stored: bytes) -> None:
    """Anything else is a MessageError that does not quote it."""
    with pytest.raises(MessageError):
        record.decode(stored)


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(stored: bytes) -> None:
    """Arbitrary bytes are a MessageError, never another exception."""
    with pytest.raises(MessageError):
        record.decode(stored)


def test_summary_stands_at_the_start() -> None:
    """The app and the count stand side by side within the first bytes, where the sweep looks for them."""
    stored = record.encode(
        Record(
            app="com.example.app",
            environment=Environment.PRODUCTION,
            push_type="alert",
            device_tokens=("ab",) * 498,
            payload=b"{}",
            priority=10,
        )
    )
    assert b'"app":"com.example.app","count":498' in stored[:300]
