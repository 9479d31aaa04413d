"""What a single push is answered, one row per case of Apple's rules."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jwt
import pytest

from dispatcher.dev.simulator import OBSERVED, STRICT, Form, SimulatorSettings, device_token, special_device_token
from dispatcher.push_types import PUSH_TYPES, Environment

if TYPE_CHECKING:
    from tests.simulator.conftest import Run, RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
NOW = 1_800_000_000
SANDBOX = SimulatorSettings(environment=Environment.SANDBOX)
PRODUCTION = SimulatorSettings(environment=Environment.PRODUCTION)

BAD = special_device_token(Form.BAD, 1)
UNREGISTERED = special_device_token(Form.UNREGISTERED, 1)
NOT_FOR_TOPIC = special_device_token(Form.NOT_FOR_TOPIC, 1)

Sign = Callable[["RunningSimulator"], str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A push and its answer.

    Attributes:
        headers: Changes to a push that is accepted; None leaves a header out.
        more_headers: Headers added behind the others.
        sign: Makes the provider token; None for the valid one.
    """

    name: str
    status: int
    reason: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    more_headers: tuple[tuple[str, str], ...] = ()
    payload: bytes = PAYLOAD
    device_token: str = device_token(7)
    sign: Sign | None = None
    settings: SimulatorSettings = STRICT


def signed_with(key_id: str, team_id: str = "TEAMAAAAAA", *, age_s: float = 0) -> Sign:
    """Sign with a key of the simulator's world."""
    return lambda apns: apns.sign(key_id, team_id, age_s=age_s)


def claims(header: Mapping[str, str], **claims: object) -> Sign:
    """Sign other claims under another header with a key of the world."""

    def sign(apns: RunningSimulator) -> str:
        signing_key = (apns.directory / "AuthKey_KEYLEGACY0.p8").read_text()
        return jwt.encode(dict(claims), signing_key, algorithm="ES256", headers=dict(header))

    return sign


def hs256(_apns: RunningSimulator) -> str:
    """Sign with a shared secret instead of a key pair."""
    return jwt.encode({"iss": "TEAMAAAAAA", "iat": NOW}, "s" * 32, algorithm="HS256", headers={"kid": "KEYLEGACY0"})


def another_keys_signature(apns: RunningSimulator) -> str:
    """Name one key and sign with another."""
    signing_key = (apns.directory / "AuthKey_KEYTEAMPRO.p8").read_text()
    content = {"iss": "TEAMAAAAAA", "iat": NOW}
    return jwt.encode(content, signing_key, algorithm="ES256", headers={"kid": "KEYLEGACY0"})


def of_size(size: int) -> bytes:
    """Return a payload of so many bytes."""
    head, tail = b'{"aps":{"alert":"', b'"}}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


METHOD_AND_PATH = (
    Row(name="M1", status=405, reason="MethodNotAllowed", headers={"method": "GET", "authorization": None}),
    Row(name="M2 put", status=405, reason="MethodNotAllowed", headers={"method": "PUT"}),
    Row(name="M2 delete", status=405, reason="MethodNotAllowed", headers={"method": "DELETE"}),
    Row(
        name="M3",
        status=405,
        reason="MethodNotAllowed",
        headers={"method": "GET", "path": "/4/broadcasts/apps/com.ex.a", "authorization": None},
    ),
    Row(name="M4", status=404, reason="BadPath", headers={"path": "/"}),
    Row(name="M6", status=400, reason="MissingDeviceToken", headers={"path": "/3/device/"}),
    Row(name="M8", status=404, reason="BadPath", headers={"path": "/3/device"}),
    Row(name="M9", status=404, reason="BadPath", headers={"path": f"/3/device/{device_token(7)}/x"}),
    Row(name="M10", status=400, reason="BadDeviceToken", headers={"path": f"/3/device/{device_token(7)}?x=1"}),
    Row(name="M11", status=404, reason="BadPath", headers={"path": "/nowhere", "authorization": None}),
)

AUTHENTICATION = (
    Row(name="A1", status=403, reason="MissingProviderToken", headers={"authorization": None}),
    Row(name="A3", status=403, reason="MissingProviderToken", headers={"authorization": "bearer "}),
    Row(name="A4", status=403, reason="MissingProviderToken", headers={"authorization": "basic abc"}),
    Row(name="A5", status=403, reason="InvalidProviderToken", headers={"authorization": "bearer not-a-jwt"}),
    Row(name="A6", status=403, reason="InvalidProviderToken", sign=claims({"kid": "KEYUNKNOWN"}, iss="T", iat=NOW)),
    Row(name="A7", status=403, reason="InvalidProviderToken", sign=another_keys_signature),
    Row(name="A9", status=403, reason="InvalidProviderToken", sign=hs256),
    Row(name="A11 no kid", status=403, reason="InvalidProviderToken", sign=claims({}, iss="TEAMAAAAAA", iat=NOW)),
    Row(name="A11 no iss", status=403, reason="InvalidProviderToken", sign=claims({"kid": "KEYLEGACY0"}, iat=NOW)),
    Row(
        name="A11 no iat",
        status=403,
        reason="InvalidProviderToken",
        sign=claims({"kid": "KEYLEGACY0"}, iss="TEAMAAAAAA"),
    ),
    Row(
        name="A11 iat is a string",
        status=403,
        reason="InvalidProviderToken",
        sign=claims({"kid": "KEYLEGACY0"}, iss="TEAMAAAAAA", iat=str(NOW)),
    ),
    Row(
        name="A11 iss does not own the key",
        status=403,
        reason="InvalidProviderToken",
        sign=signed_with("KEYLEGACY0", "TEAMBBBBBB"),
    ),
    Row(name="A12", status=403, reason="ExpiredProviderToken", sign=signed_with("KEYLEGACY0", age_s=3601)),
    Row(name="A12 not yet", status=200, sign=signed_with("KEYLEGACY0", age_s=3600)),
    Row(name="A14", status=200, sign=signed_with("KEYLEGACY0", age_s=-600)),
    Row(name="A15", status=403, reason="ExpiredProviderToken", sign=signed_with("KEYLEGACY0", age_s=-7200)),
    Row(
        name="A15 milliseconds",
        status=403,
        reason="ExpiredProviderToken",
        sign=claims({"kid": "KEYLEGACY0"}, iss="TEAMAAAAAA", iat=NOW * 1000),
    ),
    Row(
        name="A30",
        status=403,
        reason="BadEnvironmentKeyInToken",
        sign=signed_with("KEYTEAMSBX"),
        settings=PRODUCTION,
    ),
    Row(name="A30 sandbox", status=200, sign=signed_with("KEYTEAMSBX"), settings=SANDBOX),
    Row(
        name="A30 production key at the sandbox",
        status=403,
        reason="BadEnvironmentKeyInToken",
        sign=signed_with("KEYTOPIC1A"),
        settings=SANDBOX,
    ),
)

HEADERS = (
    Row(name="OK", status=200),
    Row(name="H1", status=400, reason="MissingTopic", headers={"apns_topic": None}),
    Row(name="H2", status=400, reason="MissingTopic", headers={"apns_topic": ""}),
    Row(name="H3", status=400, reason="BadTopic", headers={"apns_topic": "com ex/!"}),
    Row(name="H4", status=400, reason="TopicDisallowed", headers={"apns_topic": "com.example.third"}),
    Row(
        name="H4 topic-specific key",
        status=400,
        reason="TopicDisallowed",
        sign=signed_with("KEYTOPIC1A"),
        headers={"apns_topic": "com.ex.b"},
    ),
    Row(name="H4 unknown", status=400, reason="TopicDisallowed", headers={"apns_topic": "com.ex.nobody"}),
    Row(name="H6", status=200, headers={"apns_push_type": None}),
    Row(name="H7", status=400, reason="InvalidPushType", headers={"apns_push_type": "silent"}),
    Row(name="H8", status=400, reason="InvalidPushType", headers={"apns_push_type": "Alert"}),
    Row(name="H9", status=400, reason="InvalidPushType", headers={"apns_topic": "com.ex.a.voip"}),
    Row(name="H12", status=400, reason="InvalidPushType", headers={"apns_push_type": "voip"}),
    Row(
        name="H13",
        status=400,
        reason="DeviceTokenNotForTopic",
        device_token=NOT_FOR_TOPIC,
        headers={"apns_push_type": "voip", "apns_topic": "com.ex.a.voip"},
    ),
    Row(name="H16 priority 5", status=200, headers={"apns_priority": "5"}),
    Row(name="H16 priority 1", status=200, headers={"apns_priority": "1"}),
    *(
        Row(name=f"H17 {value!r}", status=400, reason="BadPriority", headers={"apns_priority": value})
        for value in ("7", "high", "0", "")
    ),
    Row(
        name="H18",
        status=400,
        reason="BadPriority",
        headers={"apns_push_type": "background", "apns_priority": "10"},
    ),
    Row(
        name="H18 observed",
        status=200,
        headers={"apns_push_type": "background", "apns_priority": "10"},
        settings=OBSERVED,
    ),
    Row(name="H19", status=400, reason="BadPriority", headers={"apns_push_type": "background"}),
    Row(name="H20", status=200, headers={"apns_push_type": "background", "apns_priority": "5"}),
    Row(
        name="H21",
        status=400,
        reason="BadPriority",
        headers={
            "apns_push_type": "liveactivity",
            "apns_topic": "com.ex.a.push-type.liveactivity",
            "apns_priority": "1",
        },
    ),
    *(
        Row(name=f"H22 {value}", status=200, headers={"apns_expiration": value})
        for value in ("0", str(NOW + 60), str(NOW - 60))
    ),
    *(
        Row(name=f"H24 {value}", status=400, reason="BadExpirationDate", headers={"apns_expiration": value})
        for value in ("abc", "-1", "1800000000.5", "")
    ),
    Row(name="H25", status=400, reason="BadExpirationDate", headers={"apns_expiration": str(NOW * 1000)}),
    Row(name="H25 observed", status=200, headers={"apns_expiration": str(NOW * 1000)}, settings=OBSERVED),
    Row(name="H29", status=400, reason="BadMessageId", headers={"apns_id": "123"}),
    Row(name="H30", status=200, headers={"apns_id": str(uuid.uuid4()).upper()}),
    Row(name="H32", status=200, headers={"apns_foo": "1"}),
    Row(name="collapse id", status=200, headers={"apns_collapse_id": "é" * 32}),
    Row(name="long collapse id", status=400, reason="BadCollapseId", headers={"apns_collapse_id": "é" * 32 + "x"}),
)

PAYLOADS = (
    Row(name="P1", status=400, reason="PayloadEmpty", payload=b""),
    Row(name="P3", status=200, payload=of_size(4096)),
    Row(name="P3 too large", status=413, reason="PayloadTooLarge", payload=of_size(4097)),
    Row(
        name="P5 background",
        status=413,
        reason="PayloadTooLarge",
        payload=of_size(4097),
        headers={"apns_push_type": "background", "apns_priority": "5"},
    ),
    Row(
        name="voip",
        status=200,
        payload=of_size(5120),
        headers={"apns_push_type": "voip", "apns_topic": "com.ex.a.voip", "apns_expiration": "0"},
    ),
    Row(
        name="voip too large",
        status=413,
        reason="PayloadTooLarge",
        payload=of_size(5121),
        headers={"apns_push_type": "voip", "apns_topic": "com.ex.a.voip"},
    ),
    Row(name="larger than the window", status=413, reason="PayloadTooLarge", payload=b"x" * 60_000),
    Row(name="P7", status=200, payload=b"not JSON"),
    Row(name="P8", status=200, payload=b'{"aps":{"alert":"hi","unknown":1}}'),
    Row(name="P10", status=200, payload=b'{"aps":{}}'),
)

DEVICE_TOKENS = (
    Row(name="K1", status=400, reason="BadDeviceToken", device_token="aa" * 2),
    Row(name="K2 not hex", status=400, reason="BadDeviceToken", device_token="z" * 64),
    Row(name="K2 odd", status=400, reason="BadDeviceToken", device_token="a" * 65),
    Row(name="K3", status=400, reason="BadDeviceToken", device_token=BAD),
    Row(name="K5", status=410, reason="Unregistered", device_token=UNREGISTERED),
    Row(name="K5 upper case", status=410, reason="Unregistered", device_token=UNREGISTERED.upper()),
    Row(name="expired", status=410, reason="ExpiredToken", device_token=special_device_token(Form.EXPIRED, 1)),
    Row(
        name="K8",
        status=200,
        device_token="a" * 160,
        headers={"apns_push_type": "liveactivity", "apns_topic": "com.ex.a.push-type.liveactivity"},
    ),
)

SEVERAL_FAULTS = (
    Row(
        name="S1",
        status=405,
        reason="MethodNotAllowed",
        headers={"method": "GET", "authorization": None},
        device_token="aa" * 2,
    ),
    Row(
        name="S3",
        status=403,
        reason="ExpiredProviderToken",
        sign=signed_with("KEYLEGACY0", age_s=3601),
        device_token=BAD,
    ),
    Row(
        name="S5",
        status=403,
        reason="BadEnvironmentKeyInToken",
        sign=signed_with("KEYTEAMSBX"),
        device_token=BAD,
        settings=PRODUCTION,
    ),
    Row(name="S6", status=400, reason="MissingTopic", headers={"apns_topic": None}, device_token=BAD),
    Row(name="S7", status=400, reason="BadPriority", headers={"apns_priority": "7"}, device_token=BAD),
    Row(name="S8", status=413, reason="PayloadTooLarge", payload=of_size(4097), device_token=BAD),
    Row(
        name="token against topic before type against topic",
        status=400,
        reason="DeviceTokenNotForTopic",
        device_token=NOT_FOR_TOPIC,
        headers={"apns_push_type": "voip"},
    ),
    Row(
        name="S11",
        status=400,
        reason="DuplicateHeaders",
        headers={"authorization": None},
        more_headers=(("apns-topic", "com.ex.a"),),
    ),
)

ROWS = (*METHOD_AND_PATH, *AUTHENTICATION, *HEADERS, *PAYLOADS, *DEVICE_TOKENS, *SEVERAL_FAULTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_push_is_answered_as_apple_would(row: Row, run: Run) -> None:
    """The first of Apple's checks that a push fails gives the status and reason; a push that fails none gets 200."""
    apns = run(row.settings)
    provider_token = row.sign(apns) if row.sign else None
    headers = apns.headers(device_token=row.device_token, provider_token=provider_token, **row.headers)

    with apns.connect() as client:
        reply = client.ask([*headers, *row.more_headers], row.payload)

    assert (row.status, row.reason) == (reply.status, reply.reason)


@pytest.mark.parametrize("push_type", PUSH_TYPES)
def test_every_push_type_has_its_topic(push_type: str, run: Run) -> None:
    """A push of each of the eleven types is accepted on its own topic, with its own default priority."""
    rules = PUSH_TYPES[push_type]
    apns = run()
    headers = apns.headers(
        apns_push_type=push_type, apns_topic=rules.topic("com.ex.a"), apns_priority=str(rules.default_priority)
    )

    with apns.connect() as client:
        reply = client.ask(headers, PAYLOAD)

    assert reply.status == 200


def test_a_refusal_has_apples_exact_body(apns: RunningSimulator) -> None:
    """A refusal's body is compact JSON; only a 410 tells a time."""
    with apns.connect() as client:
        bad = client.ask(apns.headers(device_token=BAD), PAYLOAD)
        gone = client.ask(apns.headers(device_token=UNREGISTERED), PAYLOAD)

    assert bad.body == b'{"reason":"BadDeviceToken"}'
    assert gone.body == b'{"reason":"Unregistered","timestamp":1700000000000}'


def test_the_callers_apns_id_comes_back_as_it_was(apns: RunningSimulator) -> None:
    """An apns id is echoed in its own case, with a refusal too."""
    apns_ids = [str(uuid.uuid4()), str(uuid.uuid4()).upper()]

    with apns.connect() as client:
        accepted = client.ask(apns.headers(apns_id=apns_ids[0]), PAYLOAD)
        refused = client.ask(apns.headers(apns_id=apns_ids[1], device_token=BAD), PAYLOAD)

    assert apns_ids == [accepted.headers["apns-id"], refused.headers["apns-id"]]


@pytest.mark.parametrize("changes", [{"apns_id": None}, {"apns_id": "123"}, {"authorization": None, "apns_id": None}])
def test_a_missing_or_malformed_apns_id_is_replaced(changes: dict[str, str | None], apns: RunningSimulator) -> None:
    """Without a usable apns id Apple makes one, in upper case, also when it refuses the push."""
    with apns.connect() as client:
        reply = client.ask(apns.headers(**changes), PAYLOAD)

    made = reply.headers["apns-id"]
    assert made == str(uuid.UUID(made)).upper()


def test_only_the_sandbox_names_pushes_for_its_delivery_log(run: Run) -> None:
    """The header apns-unique-id comes from the sandbox alone."""
    replies = {}
    for settings in (SANDBOX, PRODUCTION):
        apns = run(settings)
        with apns.connect() as client:
            replies[settings.environment] = client.ask(apns.headers(), PAYLOAD)

    assert "apns-unique-id" in replies[Environment.SANDBOX].headers
    assert "apns-unique-id" not in replies[Environment.PRODUCTION].headers


def test_a_capital_bearer_is_accepted(apns: RunningSimulator) -> None:
    """The word before the provider token may be written Bearer."""
    with apns.connect() as client:
        reply = client.ask(apns.headers(authorization=f"Bearer {apns.provider_token}"), PAYLOAD)

    assert reply.status == 200
