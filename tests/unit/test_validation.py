"""What Apple would refuse is refused at the call, on the exact bytes that will be sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import NotificationError
from dispatcher.notification import Notification, Report
from dispatcher.push_types import PUSH_TYPES, Environment
from dispatcher.record import Record
from dispatcher.validation import checked_apns_id, checked_device_token, checked_idempotency_key, make_record

NOW = 1_795_000_000.0
DEVICE_TOKEN = "ab" * 32
PAYLOADS: Mapping[str, Mapping[str, Any]] = {
    "alert": {"aps": {"alert": "hi"}},
    "background": {"aps": {"content-available": 1}, "sync": "inbox"},
    "voip": {"call": "8e21"},
    "complication": {"steps": 7},
    "fileprovider": {"container-identifier": "root", "domain": "home"},
    "mdm": {"mdm": "magic"},
    "location": {"query": 1},
    "liveactivity": {"aps": {"event": "update", "timestamp": 1_795_000_000, "content-state": {"goals": 1}}},
    "pushtotalk": {"activeSpeaker": "Ann"},
    "widgets": {"aps": {"content-changed": True}},
    "controls": {"aps": {"content-changed": True}},
}


def make(push_type: str = "alert", **changes: Any) -> Record:
    """Return the record of a valid notification with some fields changed."""
    fields: dict[str, Any] = {"device_token": DEVICE_TOKEN, "payload": PAYLOADS.get(push_type, {}), **changes}
    notification = Notification(app="com.example.app", push_type=push_type, **fields)
    return make_record(notification, environment=Environment.PRODUCTION)


def refusal(push_type: str = "alert", **changes: Any) -> NotificationError:
    """Return the error that a notification meets."""
    with pytest.raises(NotificationError) as caught:
        make(push_type, **changes)
    return caught.value


@pytest.mark.parametrize("push_type", PUSH_TYPES)
def test_every_push_type_has_a_valid_form(push_type: str) -> None:
    """Each of the eleven push types is accepted with its own payload and its row's defaults."""
    row, accepted = PUSH_TYPES[push_type], make(push_type)
    assert accepted.priority == row.default_priority
    assert accepted.expiration == row.default_expiration
    assert accepted.expires_in == row.expires_in_s


def test_there_are_eleven_push_types() -> None:
    """The table has Apple's eleven values, and the suffixes of their topics."""
    assert {name: row.topic_suffix for name, row in PUSH_TYPES.items()} == {
        "alert": "",
        "background": "",
        "voip": ".voip",
        "complication": ".complication",
        "fileprovider": ".pushkit.fileprovider",
        "mdm": "",
        "location": ".location-query",
        "liveactivity": ".push-type.liveactivity",
        "pushtotalk": ".voip-ptt",
        "widgets": ".push-type.widgets",
        "controls": ".push-type.controls",
    }


@pytest.mark.parametrize(
    ("push_type", "changes", "field"),
    [
        ("silent", {}, "push_type"),
        ("Alert", {}, "push_type"),
        ("alert", {"payload": [1]}, "payload"),
        ("alert", {"payload": {"aps": {}}}, "payload.aps"),
        ("alert", {"payload": {"x": 1}}, "payload.aps"),
        ("alert", {"payload": {"aps": "hi"}}, "payload.aps"),
        ("alert", {"payload": {"aps": {"badge": -1}}}, "payload.aps.badge"),
        ("alert", {"payload": {"aps": {"badge": True}}}, "payload.aps.badge"),
        ("alert", {"payload": {"aps": {"alert": "hi"}, "x": float("nan")}}, "payload"),
        ("alert", {"payload": {"aps": {"alert": "hi"}, "x": float("inf")}}, "payload"),
        ("alert", {"payload": {"aps": {"alert": "hi"}, "x": {1, 2}}}, "payload"),
        ("alert", {"payload": {"aps": {"alert": "hi"}, "x": b"bytes"}}, "payload"),
        ("alert", {"payload": {"aps": {"alert": "\ud800"}}}, "payload"),
        ("alert", {"priority": 7}, "priority"),
        ("alert", {"priority": True}, "priority"),
        ("alert", {"priority": "10"}, "priority"),
        ("alert", {"expiration": 1_795_000_000_000}, "expiration"),
        ("alert", {"expiration": -1}, "expiration"),
        ("alert", {"expiration": 1.5}, "expiration"),
        ("alert", {"expiration": True}, "expiration"),
        ("alert", {"expiration": int(NOW), "send_at": NOW}, "expiration"),
        ("alert", {"send_at": NOW * 1000}, "send_at"),
        ("alert", {"send_at": -1}, "send_at"),
        ("alert", {"send_at": float("nan")}, "send_at"),
        ("alert", {"send_at": float("inf")}, "send_at"),
        ("alert", {"send_at": True}, "send_at"),
        ("alert", {"send_at": "2027-01-01T00:00:00Z"}, "send_at"),
        ("alert", {"send_at": datetime(2027, 1, 1)}, "send_at"),  # noqa: DTZ001  what is refused
        ("alert", {"hold_for": 5.0}, "hold_for"),
        ("alert", {"version": 7}, "version"),
        ("background", {"hold_for": -1.0}, "hold_for"),
        ("background", {"hold_for": float("nan")}, "hold_for"),
        ("background", {"hold_for": 25 * 3600}, "hold_for"),
        ("background", {"hold_for": None}, "hold_for"),
        ("background", {"version": 1.5}, "version"),
        ("background", {"version": True}, "version"),
        ("background", {"version": -1}, "version"),
        ("background", {"version": 2**53 + 1}, "version"),
        ("widgets", {"version": 1}, "version"),
        ("alert", {"expires_in": 0}, "expires_in"),
        ("alert", {"expires_in": float("nan")}, "expires_in"),
        ("alert", {"expires_in": "30"}, "expires_in"),
        ("alert", {"expires_in": True}, "expires_in"),
        ("alert", {"collapse_id": "ä" * 33}, "collapse_id"),
        ("alert", {"collapse_id": ""}, "collapse_id"),
        ("alert", {"collapse_id": "a\nb"}, "collapse_id"),
        ("alert", {"collapse_id": 7}, "collapse_id"),
        ("alert", {"collapse_id": "\ud800"}, "collapse_id"),
        ("alert", {"collapse": True}, "collapse"),
        ("alert", {"environment": "development"}, "environment"),
        ("background", {"payload": {"aps": {"content-available": 1, "alert": "x"}}}, "payload.aps"),
        ("background", {"payload": {"aps": {"content-available": True}}}, "payload.aps"),
        ("background", {"payload": {"aps": {}}}, "payload.aps"),
        ("background", {"priority": 10}, "priority"),
        ("voip", {"priority": 5}, "priority"),
        ("liveactivity", {"priority": 1}, "priority"),
        ("liveactivity", {"payload": {"aps": {"event": "pause", "timestamp": 1}}}, "payload.aps.event"),
        ("liveactivity", {"payload": {"aps": {"event": "end"}}}, "payload.aps.timestamp"),
        (
            "liveactivity",
            {"payload": {"aps": {"event": "start", "timestamp": 1, "content-state": {}}}},
            "payload.aps.attributes-type",
        ),
        ("widgets", {"payload": {"aps": {"content-changed": 1}}}, "payload.aps.content-changed"),
        ("mdm", {"payload": {}}, "payload.mdm"),
    ],
)
def test_each_rule_names_its_field(push_type: str, changes: dict[str, Any], field: str) -> None:
    """A notification that breaks one rule is refused with the name of the field."""
    assert refusal(push_type, **changes).field == field


def deep(levels: int) -> dict[str, Any]:
    """Return an object nested so many levels."""
    nested: dict[str, Any] = {}
    for _ in range(levels):
        nested = {"x": nested}
    return nested


def test_endless_nesting_is_refused() -> None:
    """A payload nested deeper than JSON can be written is refused, not a crash."""
    assert refusal(payload={"aps": {"alert": "hi"}, "x": deep(100_000)}).field == "payload"


@pytest.mark.parametrize(("push_type", "limit"), [("alert", 4096), ("background", 4096), ("voip", 5120)])
def test_size_is_limited_to_the_byte(push_type: str, limit: int) -> None:
    """A payload of exactly the limit is accepted, one byte more is refused; bytes count, not characters."""
    payload = {**PAYLOADS[push_type], "pad": "é"}
    room = limit - len(make(push_type, payload=payload).payload)
    payload["pad"] = "é" + "x" * room
    assert len(make(push_type, payload=payload).payload) == limit
    payload["pad"] += "x"
    assert f"is {limit + 1} bytes, at most {limit}" in refusal(push_type, payload=payload).rule


@pytest.mark.parametrize(
    "device_token",
    ["", "a", "abc", "xy", "ab/../cd", "ab?x=1", "ab cd", "ab\n", "\u0430\u0431", "ab" * 257, None, 7, b"abcd"],
)
def test_bad_device_tokens_are_refused(device_token: Any) -> None:
    """Only hex digits of whole bytes are a device token: nothing can break out of the path."""
    with pytest.raises(NotificationError) as caught:
        checked_device_token(device_token)
    assert caught.value.field == "device_token"


@given(st.binary(min_size=1, max_size=256))
def test_device_tokens_of_any_length_are_lower_cased(raw: bytes) -> None:
    """Any whole bytes in hex are accepted, in either case, and sent in lower case."""
    assert checked_device_token(raw.hex().upper()) == raw.hex()


@given(st.text(max_size=80))
def test_no_text_but_hex_is_a_device_token(text: str) -> None:
    """Whatever is accepted is lower-case hex of even length."""
    try:
        accepted = checked_device_token(text)
    except NotificationError:
        return
    assert bytes.fromhex(accepted).hex() == accepted


def test_apns_id_must_be_canonical() -> None:
    """A caller's own apns id is a canonical lower-case UUID."""
    own_id = str(uuid4())
    assert checked_apns_id(own_id) == own_id
    for bad in (own_id.upper(), "123", own_id.replace("-", ""), 7):
        with pytest.raises(NotificationError):
            checked_apns_id(bad)  # type: ignore[arg-type]  # what a caller without types may pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=10).filter(lambda name: name != "aps"), json_values, max_size=5))
def test_the_bytes_say_what_was_asked(custom: dict[str, Any]) -> None:
    """The payload's bytes decode to exactly the payload, within the limit, or it is refused."""
    payload = {"aps": {"alert": "hi"}, **custom}
    try:
        accepted = make(payload=payload)
    except NotificationError:
        return
    assert json.loads(accepted.payload) == payload
    assert len(accepted.payload) <= 4096


@pytest.mark.parametrize(
    "idempotency_key", ["", "k" * 256, 7, b"order-7", "\ud800"], ids=["empty", "long", "number", "bytes", "surrogate"]
)
def test_bad_idempotency_keys_are_refused(idempotency_key: Any) -> None:
    """An idempotency key is text of 1 to 255 characters."""
    with pytest.raises(NotificationError) as caught:
        checked_idempotency_key(keyed(idempotency_key))
    assert caught.value.field == "idempotency_key"


def test_idempotency_keys_may_hold_any_text() -> None:
    """What is text, and no longer than the limit, is a key as it is; but not beside an apns id."""
    for key in ("k", "ä" * 255, "order 7\nfor\u2028Ann"):
        assert checked_idempotency_key(keyed(key)) == key
    with pytest.raises(NotificationError) as caught:
        checked_idempotency_key(keyed("k", apns_id=str(uuid4())))
    assert caught.value.field == "idempotency_key"


def keyed(idempotency_key: Any, **changes: Any) -> Notification:
    """Return a notification with an idempotency key."""
    fields: dict[str, Any] = {"app": "com.example.app", "push_type": "alert", "device_token": "ab", **changes}
    return Notification(payload={"aps": {"alert": "hi"}}, idempotency_key=idempotency_key, **fields)


def test_a_moment_may_be_said_in_two_ways() -> None:
    """Unix seconds and a datetime of any time zone are the same moment in the record."""
    moment = datetime(2026, 12, 24, 18, 30, tzinfo=UTC)
    ways = [moment.timestamp(), int(moment.timestamp()), moment, moment.astimezone(timezone(timedelta(hours=5.5)))]
    assert {make(send_at=way).send_at for way in ways} == {moment.timestamp()}


def test_time_is_counted_from_when_it_is_sent() -> None:
    """A notification that is sent later expires later, and its expiration must leave time to send it."""
    accepted = make(send_at=NOW + 3600, expires_in=60, expiration=int(NOW) + 7200)
    assert accepted.expires_at(NOW) == NOW + 3660
    assert accepted.expires_at(NOW + 5000) == NOW + 5060
    assert make(send_at=NOW + 3600, expires_in=60, expiration=int(NOW) + 3601).expires_at(NOW) == NOW + 3601


def test_no_clock_but_the_state_servers_judges_an_expiration() -> None:
    """A time in the past, or for a call far ahead, is left to the state server: a host's clock may be wrong."""
    assert make(expiration=1).expiration == 1
    assert make("voip", expiration=10**11).expiration == 10**11


def test_options_of_slots_reach_the_record() -> None:
    """What collapses may have a version, and may be held."""
    assert make("background", version=2**53, hold_for=90, track=True).version == 2**53
    assert make("widgets", collapse=True, version=0, hold_for=1.5).version == 0


def test_options_reach_the_record() -> None:
    """Every option the caller gives is in the record."""
    accepted = make(
        send_at=NOW + 5,
        track=True,
        priority=5,
        expiration=int(NOW) + 60,
        expires_in=20,
        collapse_id="order-7",
        environment=Environment.SANDBOX,
        report=Report.EVERYTHING,
        device_token="AB" * 32,
    )
    assert accepted == Record(
        app="com.example.app",
        environment=Environment.SANDBOX,
        push_type="alert",
        device_tokens=(DEVICE_TOKEN,),
        payload=b'{"aps":{"alert":"hi"}}',
        priority=5,
        expiration=int(NOW) + 60,
        expires_in=20.0,
        send_at=NOW + 5,
        collapse_id="order-7",
        report=Report.EVERYTHING,
        track=True,
    )


def test_an_error_never_quotes_the_payload() -> None:
    """The message of a refusal holds nothing of the payload or the device token."""
    secret = "canary" * 3
    texts = [
        str(refusal(payload={"aps": {"alert": "hi"}, "x": {secret}})),
        str(refusal(payload={"aps": {"alert": secret + "\ud800"}})),
        str(refusal(payload={"aps": {"alert": secret * 1000}})),
        str(refusal(device_token=secret)),
    ]
    assert not any(secret in text for text in texts)
