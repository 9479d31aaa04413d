"""A stream's entry becomes a typed record, or an error; never a record that is half right."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.feedback import QUIET_OUTCOMES, Feedback, Outcome, decode
from dispatcher.push_types import PUSH_TYPES, Environment
from dispatcher.sealing import PLAIN

records = st.builds(
    Feedback,
    outcome=st.sampled_from(Outcome),
    apns_id=st.uuids().map(str),
    app=st.text(max_size=20),
    environment=st.sampled_from(Environment),
    push_type=st.sampled_from(list(PUSH_TYPES)),
    device_token=st.binary(max_size=32).map(bytes.hex),
    status=st.integers(0, 599),
    reason=st.text(max_size=20),
    unregistered_at=st.integers(0, 10**14),
    at=st.floats(0, 1e11),
    stream_id=st.from_regex(r"\d{1,13}-\d", fullmatch=True),
    shard=st.integers(0, 15),
)
PLACE = ("stream_id", "shard")


def fields_of(record: Feedback) -> dict[bytes, bytes]:
    """Return a record as the fields of a stream's entry."""
    return {name.encode(): str(getattr(record, name)).encode() for name in Feedback.__slots__ if name not in PLACE}


@given(records)
def test_round_trip(record: Feedback) -> None:
    """What stands in the stream is what the app reads, with its types."""
    assert decode(fields_of(record), stream_id=record.stream_id, shard=record.shard, sealing=PLAIN) == record


@pytest.mark.parametrize("missing", [name for name in Feedback.__slots__ if name not in PLACE])
def test_an_entry_lacks_nothing(missing: str) -> None:
    """An entry without one of its fields is no feedback."""
    fields = fields_of(
        Feedback(
            outcome=Outcome.EXPIRED,
            apns_id="id",
            app="com.example.app",
            environment=Environment.SANDBOX,
            push_type="voip",
            device_token="ab",
        )
    )
    del fields[missing.encode()]
    with pytest.raises(KeyError):
        decode(fields, stream_id="1-0", shard=0, sealing=PLAIN)


def test_failures_are_not_quiet() -> None:
    """Whatever went wrong is told without being asked for."""
    assert set(Outcome) - QUIET_OUTCOMES == {
        Outcome.UNREGISTERED,
        Outcome.REFUSED,
        Outcome.EXPIRED,
        Outcome.CANCELLED,
        Outcome.DEAD_LETTERED,
    }


def test_registered_before_is_a_moment() -> None:
    """The milliseconds that Apple gave are advice as a moment with its time zone; without them there is none."""
    record = Feedback(
        outcome=Outcome.UNREGISTERED,
        apns_id="id",
        app="com.example.app",
        environment=Environment.PRODUCTION,
        push_type="alert",
        device_token="ab",
        unregistered_at=1_700_000_000_250,
    )
    assert record.registered_before == datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)
    assert replace(record, unregistered_at=0).registered_before is None
