"""Dead letters as values: which are wanted, what may be shown, and what of their time is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.dead_letter import DeadLetter, Wanted, decode, renewed, shortened
from dispatcher.feedback import Outcome
from dispatcher.notes import Ends
from dispatcher.push_types import Environment, Lane
from dispatcher.record import Record
from dispatcher.record import decode as decode_record
from dispatcher.sealing import PLAIN
from workers.endings import Past, leave, leave_unreadable
from workers.retry import Finish

APP = "com.example.app"
DEVICE_TOKEN = "ab" * 16 + "cd" * 16
LETTER = DeadLetter(
    app=APP,
    apns_id="one",
    reason="ServiceUnavailable",
    at=100.0,
    stored=b"",
    shard=3,
    stream_id="5-1",
    push_type="alert",
)
RECORD = Record(
    app=APP,
    environment=Environment.PRODUCTION,
    push_type="alert",
    device_tokens=(DEVICE_TOKEN,),
    payload=b'{"aps":{"alert":"hi"}}',
    priority=10,
)


@pytest.mark.parametrize(
    ("wanted", "is_included"),
    [
        ({}, True),
        ({"app": APP, "reason": "ServiceUnavailable", "push_type": "alert", "apns_id": "one"}, True),
        ({"app": "com.example.other"}, False),
        ({"reason": "Service"}, False),
        ({"push_type": "voip"}, False),
        ({"apns_id": "two"}, False),
        ({"since": 100.0, "until": 100.0}, True),
        ({"since": 100.1}, False),
        ({"until": 99.9}, False),
    ],
)
def test_each_filter_counts(wanted: dict[str, Any], is_included: bool) -> None:  # noqa: FBT001
    """A dead letter is wanted if it fits everything that was asked for."""
    assert Wanted(**wanted).includes(LETTER) is is_included


def test_order_is_that_of_time() -> None:
    """Entries of different streams sort by the server's milliseconds, as numbers."""
    stream_ids = ["9-0", "10-2", "10-10", "100-0"]
    letters = [replace(LETTER, stream_id=stream_id) for stream_id in reversed(stream_ids)]
    assert [letter.stream_id for letter in sorted(letters, key=lambda letter: letter.order)] == stream_ids


@pytest.mark.parametrize(
    ("push_type", "in_slot", "is_in_slot"),
    [("alert", False, False), ("background", False, True), ("widgets", False, False), ("widgets", True, True)],
)
def test_what_a_worker_leaves_reads_back(push_type: str, *, in_slot: bool, is_in_slot: bool) -> None:
    """A dead letter tells how it ended, when it was accepted, its tries and whether only the newest counted."""
    ends = Ends()
    finish = Finish(outcome=Outcome.DEAD_LETTERED, status=503, reason="ServiceUnavailable")
    history = "1.5 TooManyRequests; 2.5 ServiceUnavailable"
    stored = replace(RECORD, push_type=push_type)
    past = Past(history=history, accepted_at=1.25, in_slot=in_slot)
    leave(ends, stored, 0, "the-apns-id", finish, sealing=PLAIN, past=past)
    letter = decode(APP, as_fields(ends.dead[0], at="9.5"), shard=3, stream_id="7-0", sealing=PLAIN)
    assert letter == DeadLetter(
        app=APP,
        apns_id="the-apns-id",
        reason="ServiceUnavailable",
        at=9.5,
        stored=letter.stored,
        shard=3,
        stream_id="7-0",
        environment="production",
        push_type=push_type,
        device_token=DEVICE_TOKEN,
        status=503,
        accepted_at=1.25,
        tries=("1.5 TooManyRequests", "2.5 ServiceUnavailable"),
        in_slot=is_in_slot,
    )
    assert decode_record(letter.stored, letter.place, PLAIN) == stored


def test_of_the_unreadable_little_is_known() -> None:
    """What could not be read is kept as it is; what is not known of it is empty, and it counts from its end."""
    ends = Ends()
    leave_unreadable(ends, "the-apns-id", b"garbage", Lane.ALERT, "record cannot be read", accepted_at=0.0)
    fields = as_fields(ends.unreadable[0], at="9.5")
    letter = decode("unreadable", fields, shard=3, stream_id="7-0", sealing=PLAIN)
    assert (letter.app, letter.apns_id, letter.reason) == ("unreadable", "the-apns-id", "record cannot be read")
    assert (letter.stored, letter.accepted_at, letter.tries) == (b"garbage", 9.5, ())
    assert (letter.device_token, letter.push_type, letter.status, letter.in_slot) == ("", "", 0, False)


@pytest.mark.parametrize(
    ("changes", "now", "left_s"),
    [
        ({}, 1e9, None),
        ({"expires_in": 60.0}, 1030.0, 30.0),
        ({"expires_in": 60.0, "send_at": 1050.0}, 1060.0, 50.0),
        ({"expires_in": 60.0, "expiration": 2000}, 1059.5, 0.5),
        ({"expiration": 2000}, 1999.0, None),
        ({"expiration": 0}, 1e9, None),
    ],
)
def test_time_counts_from_the_first_acceptance(changes: dict[str, Any], now: float, left_s: float | None) -> None:
    """What is sent again keeps what is left of its time, is due at once, and is otherwise as it was."""
    before = replace(RECORD, **changes)
    again = renewed(before, accepted_at=1000.0, now=now)
    assert again == replace(before, send_at=None, expires_in=left_s)


@pytest.mark.parametrize(
    ("changes", "now"),
    [({"expires_in": 60.0}, 1060.0), ({"expiration": 2000}, 2000.0), ({"expires_in": 5000.0, "expiration": 2000}, 3e3)],
)
def test_what_is_over_is_not_sent_again(changes: dict[str, Any], now: float) -> None:
    """When either limit has passed there is nothing to accept."""
    assert renewed(replace(RECORD, **changes), accepted_at=1000.0, now=now) is None


@pytest.mark.parametrize(("device_token", "shown"), [(DEVICE_TOKEN, "abab...cdcd"), ("ab", "..."), ("ab" * 8, "...")])
def test_device_tokens_are_shown_by_their_ends(device_token: str, shown: str) -> None:
    """Of a device token the ends are shown; of one that is too short for that, nothing."""
    assert shortened(device_token) == shown


def as_fields(entry: list[str | int], *, at: str) -> dict[bytes, bytes]:
    """Return an entry as the stream gives it back."""
    flat = [str(part).encode() for part in [*entry, "at", at]]
    return dict(zip(flat[::2], flat[1::2], strict=True))
