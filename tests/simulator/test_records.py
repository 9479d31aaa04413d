"""What a simulator remembers: the request log, the counts and what waits for devices."""

from __future__ import annotations

import uuid
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from dispatcher.dev.simulator import SimulatorSettings, device_token
from dispatcher.dev.simulator.storage import AcceptedPush, Storage

if TYPE_CHECKING:
    from tests.simulator.running import Run, RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
TOPIC = "com.ex.a"
DAY_S = 86_400


def test_a_line_tells_the_whole_request(apns: RunningSimulator) -> None:
    """The request log holds what was sent, what was answered and by whom; of the provider token only a hash."""
    apns_id = str(uuid.uuid4())
    token = device_token(3)
    payload = '{"aps":{"alert":"grüezi"}}'.encode()
    headers = apns.headers(
        device_token=token,
        apns_id=apns_id,
        apns_priority="5",
        apns_expiration="0",
        apns_collapse_id="ä",
    )

    with apns.connect() as client:
        client.ask(headers, payload)

    (line,) = apns.lines()
    assert line.pop("at") > 1_700_000_000
    assert line == {
        "clock": apns.clock.now,
        "apns_id": apns_id,
        "device_token": token,
        "topic": TOPIC,
        "push_type": "alert",
        "priority": "5",
        "expiration": "0",
        "collapse_id": "ä",
        "payload": payload.decode(),
        "payload_bytes": len(payload),
        "status": 200,
        "reason": "",
        "connection": 1,
        "provider_token": sha256(apns.provider_token.encode()).hexdigest()[:16],
        "issued_at": int(apns.clock.now),
        "key_id": "KEYLEGACY0",
        "team_id": "TEAMAAAAAA",
        "answered": True,
        "warnings": [],
    }


def test_a_line_of_an_unreadable_request_says_what_was_absent(apns: RunningSimulator) -> None:
    """A header that was not sent is null in the log, and so are the claims of an invalid provider token."""
    with apns.connect() as client:
        client.ask(apns.headers(path="/nowhere", authorization=None, apns_topic=None, apns_push_type=None))

    (line,) = apns.lines()
    absent = ("device_token", "topic", "push_type", "priority", "expiration", "collapse_id")
    assert {line[name] for name in (*absent, "issued_at", "key_id", "team_id")} == {None}
    assert (line["status"], line["reason"], line["provider_token"]) == (404, "BadPath", "")


@pytest.mark.parametrize(
    ("changes", "payload", "warning"),
    [
        ({}, b"not JSON", "payload: is not JSON"),
        ({}, b"[1]", "payload: is not a JSON object"),
        ({}, b'{"aps":{}}', "payload.aps: an alert push needs"),
        ({"apns_push_type": "background", "apns_priority": "5"}, PAYLOAD, "payload.aps: of a background push"),
    ],
)
def test_the_log_warns_of_what_apple_accepts(
    changes: dict[str, str | None], payload: bytes, warning: str, apns: RunningSimulator
) -> None:
    """P7, P9, P10: a payload that no device will show is accepted, with a warning in the log."""
    with apns.connect() as client:
        assert client.ask(apns.headers(**changes), payload).status == 200

    (line,) = apns.lines()
    assert line["warnings"][0].startswith(warning)


def test_a_payload_without_push_type_gets_no_warning_but_for_json(apns: RunningSimulator) -> None:
    """Without apns-push-type nothing is known of what the payload should hold."""
    with apns.connect() as client:
        client.ask(apns.headers(apns_push_type=None), b"{}")

    assert apns.lines()[0]["warnings"] == []


def test_provider_tokens_are_counted_per_key_and_connection(run: Run) -> None:
    """The counts tell apart who used how many provider tokens where."""
    apns = run(SimulatorSettings(distinct_tokens_allowed=5))
    other_team = ("KEYTEAMBBB", "TEAMBBBBBB")

    for provider_tokens in ([apns.sign(), apns.sign()], [apns.sign(*other_team), "junk"]):
        with apns.connect() as client:
            for provider_token in provider_tokens:
                client.ask(apns.headers(provider_token=provider_token), PAYLOAD)

    stats = apns.simulator.stats
    assert {key_id: len(seen) for key_id, seen in stats.provider_tokens_by_key.items()} == {
        "KEYLEGACY0": 2,
        "KEYTEAMBBB": 1,
        "": 1,
    }
    assert {number: len(seen) for number, seen in stats.provider_tokens_by_connection.items()} == {1: 2, 2: 2}
    assert (stats.requests, stats.connections) == (4, 2)
    assert stats.answers == {(200, ""): 2, (400, "TopicDisallowed"): 1, (403, "InvalidProviderToken"): 1}


def test_the_newest_push_per_device_and_topic_is_stored(apns: RunningSimulator) -> None:
    """A later push replaces the earlier of the same topic, and not that of another; a refused one is not stored."""
    token = device_token(4)
    voip = {"apns_push_type": "voip", "apns_topic": "com.ex.a.voip"}

    with apns.connect() as client:
        client.ask(apns.headers(device_token=token), b'{"aps":{"alert":"old"}}')
        client.ask(apns.headers(device_token=token, **voip), b'{"call":1}')
        client.ask(apns.headers(device_token=token, apns_collapse_id="c"), b'{"aps":{"alert":"new"}}')
        client.ask(apns.headers(device_token=token, apns_priority="7"), b'{"aps":{"alert":"refused"}}')

    storage, now = apns.simulator.storage, apns.clock.now
    newest, call = storage.get(token, TOPIC, now), storage.get(token, "com.ex.a.voip", now)
    assert newest is not None
    assert call is not None
    assert (newest.payload, newest.collapse_id, call.payload) == (b'{"aps":{"alert":"new"}}', "c", b'{"call":1}')
    assert len(storage) == 2


@pytest.mark.parametrize(
    ("expiration", "after_s", "is_there"),
    [
        (None, 29 * DAY_S, True),
        (None, 30 * DAY_S, False),
        (60, 59, True),
        (60, 60, False),
        (60 * DAY_S, 30 * DAY_S, False),
        (-60, 0, False),
    ],
)
def test_what_is_stored_expires(
    expiration: int | None,
    after_s: float,
    is_there: bool,  # noqa: FBT001
    apns: RunningSimulator,
) -> None:
    """A notification waits until its expiration (given here from now), at most 30 days; one of the past never does."""
    header = None if expiration is None else str(int(apns.clock.now) + expiration)

    with apns.connect() as client:
        client.ask(apns.headers(device_token=device_token(5), apns_expiration=header), PAYLOAD)

    found = apns.simulator.storage.get(device_token(5), TOPIC, apns.clock.now + after_s)
    assert is_there == (found is not None)


def test_expiration_zero_is_never_stored_and_replaces_nothing(apns: RunningSimulator) -> None:
    """A push with one attempt only leaves what waits for the device as it is."""
    with apns.connect() as client:
        client.ask(apns.headers(device_token=device_token(6)), b'{"aps":{"alert":"stored"}}')
        client.ask(apns.headers(device_token=device_token(6), apns_expiration="0"), PAYLOAD)

    found = apns.simulator.storage.get(device_token(6), TOPIC, apns.clock.now)
    assert found is not None
    assert found.payload == b'{"aps":{"alert":"stored"}}'


def test_storage_is_bounded() -> None:
    """Beyond its size the storage drops what was replaced longest ago."""
    storage = Storage(max_stored=2)
    notification = AcceptedPush(apns_id="", payload=b"", collapse_id="", expires_at=1.0)

    for token in ("aa", "bb", "aa", "cc"):
        storage.put(token, TOPIC, notification)

    assert [storage.get(token, TOPIC, 0.0) is not None for token in ("aa", "bb", "cc")] == [True, False, True]
