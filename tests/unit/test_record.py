"""A stored record is read back as it was written, or refused; what scripts look for stands where they look."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import ids, record
from dispatcher.errors import MessageError
from dispatcher.notification import Report
from dispatcher.push_types import MAX_VOIP_PAYLOAD_BYTES, PUSH_TYPES, Environment
from dispatcher.record import Record
from dispatcher.sealing import PLAIN, Sealing, batch_place
from dispatcher.validation import MAX_DEVICE_TOKEN_DIGITS
from tests.record_sealing import SEALED

PLACE = batch_place(ids.new_batch_id(3, bytes(range(16))))
ALERT = Record(
    app="com.example.app",
    environment=Environment.PRODUCTION,
    push_type="alert",
    device_tokens=("ab",) * 498,
    payload=b"{}",
    priority=10,
)
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
both_ways = pytest.mark.parametrize("sealing", [PLAIN, SEALED], ids=["plain", "sealed"])


@both_ways
@given(written=records)
def test_round_trip(written: Record, sealing: Sealing) -> None:
    """What was encoded is decoded, byte for byte, whatever the payload holds."""
    assert record.decode(record.encode(written, PLACE, sealing), PLACE, sealing) == written


@both_ways
@pytest.mark.parametrize(
    "stored", [b"", b"\n", b"{}\n", b"[]\nx", b'{"v":1}\nx', b'{"v":2}\nx', b"\xff\xfe\nx", b"garbage", b'{"v":2}']
)
def test_unreadable_records(stored: bytes, sealing: Sealing) -> None:
    """Anything else is a MessageError that does not quote it."""
    with pytest.raises(MessageError):
        record.decode(stored, PLACE, sealing)


@both_ways
@given(stored=st.binary(max_size=60))
def test_no_bytes_crash_the_reader(stored: bytes, sealing: Sealing) -> None:
    """Arbitrary bytes are a MessageError, never another exception."""
    with pytest.raises(MessageError):
        record.decode(stored, PLACE, sealing)


@given(names=st.dictionaries(st.sampled_from(["app", "key", "count", "device_tokens", "push_type", "v"]), st.none()))
def test_whoever_knows_the_format_cannot_crash_the_reader(names: dict[str, Any]) -> None:
    """A header with a fitting digest, but without sense, is a MessageError."""
    stored = record.encode(ALERT, PLACE, PLAIN)
    header = json.dumps(json.loads(stored.partition(b"\n")[0]) | {**names, "app": ["no text"], "count": 7}).encode()
    forged = header + b"\n" + PLAIN.writer.close_payload(b"{}", header, PLACE)
    with pytest.raises(MessageError):
        record.decode(forged, PLACE, PLAIN)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"v": 99}, "it is of version 99, this release reads version 2"),
        ({"v": "canary"}, "it is of an unknown version"),
        ({"push_type": "brand_new"}, "a push type this release does not know"),
        ({"key": "canary!"}, "the key of another form"),
        ({"device_tokens": []}, "another number of device tokens"),
        ({"device_tokens": ["canary"] * 498}, "a device token that is none"),
    ],
)
def test_a_refusal_names_its_rule(change: dict[str, Any], rule: str) -> None:
    """The reason says which rule was broken, and quotes nothing that somebody else wrote."""
    header = json.dumps(json.loads(record.encode(ALERT, PLACE, PLAIN).partition(b"\n")[0]) | change).encode()
    stored = header + b"\n" + PLAIN.writer.close_payload(b"{}", header, PLACE)
    with pytest.raises(MessageError, match=rule) as caught:
        record.decode(stored, PLACE, PLAIN)
    assert "canary" not in str(caught.value)


def test_the_oversized_is_refused_unread() -> None:
    """What is longer than any record of ours is refused by its length, however well it is sealed."""
    stored = record.encode(replace(ALERT, payload=bytes(record.MAX_STORED_BYTES)), PLACE, PLAIN)
    with pytest.raises(MessageError, match="longer than any of ours"):
        record.decode(stored, PLACE, PLAIN)


@both_ways
def test_the_longest_record_is_no_oversized_one(sealing: Sealing) -> None:
    """500 of the longest device tokens with the longest payload can be read back."""
    device_tokens = ("f" * MAX_DEVICE_TOKEN_DIGITS,) * ids.MAX_BATCH_SIZE
    longest = replace(ALERT, device_tokens=device_tokens, payload=bytes(MAX_VOIP_PAYLOAD_BYTES), collapse_id="\0" * 64)
    assert record.decode(record.encode(longest, PLACE, sealing), PLACE, sealing) == longest


@both_ways
def test_summary_stands_at_the_start(sealing: Sealing) -> None:
    """The app and the count stand side by side within the first bytes, where the sweep looks for them."""
    assert b'"app":"com.example.app","count":498' in record.encode(ALERT, PLACE, sealing)[:300]


@given(one=records, other=records)
def test_the_same_content_is_recognised(one: Record, other: Record) -> None:
    """What is compared when a call is made again is the same for the same content, and for no other."""
    assert record.content(one) == record.content(replace(one))
    assert (record.content(one) == record.content(other)) == (one == other)
