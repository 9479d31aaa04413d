"""What every answer has in common; the cases one by one are in cases.toml."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from dispatcher.dev.simulator import OBSERVED, STRICT, Form, SimulatorSettings, special_device_token
from dispatcher.push_types import PUSH_TYPES, Environment

if TYPE_CHECKING:
    from tests.simulator.running import Run, RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
NOW = 1_800_000_000
SANDBOX = SimulatorSettings(environment=Environment.SANDBOX)
PRODUCTION = SimulatorSettings(environment=Environment.PRODUCTION)

BAD = special_device_token(Form.BAD, 1)
UNREGISTERED = special_device_token(Form.UNREGISTERED, 1)
NOT_FOR_TOPIC = special_device_token(Form.NOT_FOR_TOPIC, 1)


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


@pytest.mark.parametrize("settings", [STRICT, OBSERVED])
def test_one_shared_provider_token_serves_all_connections(settings: SimulatorSettings, run: Run) -> None:
    """A24: ten connections may carry the same provider token, for as long as it is young."""
    apns = run(settings)

    for _ in range(10):
        apns.clock.now += 300
        with apns.connect() as client:
            assert client.ask(apns.headers(), PAYLOAD).status == 200
