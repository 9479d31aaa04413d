"""Keys that Apple refuses and apps in the wrong environment: stopped in few requests, nothing lost, nobody called."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dispatcher import Lane, ids, redis_keys
from dispatcher.dev.children import Child, poll
from dispatcher.dev.simulator.device_tokens import Form, special_device_token
from dispatcher.dev.simulator.settings import STRICT
from dispatcher.dev.simulator.thread import SimulatorThread
from dispatcher.dev.simulator.world import key_file
from dispatcher.feedback import Outcome
from tests.running_fleet import Fleet

APP, KEY = "com.example.app", "KEYLEGACY0"
#: Of another team, under another key.
THIRD = "com.example.third"
#: Of the same team.
NEW_KEY = "KEYTEAMPRO"
REFUSED_KEY = "InvalidProviderToken"
PAYLOAD = {"aps": {"alert": "hi"}}
PROCESSES = 2

Devices = Callable[[int], list[str]]


@pytest.fixture
def apple(fleet: Fleet) -> Iterator[SimulatorThread]:
    """Run an Apple that the test can talk to in the place of the fleet's own; workers started from now on meet it."""
    requests = fleet.stack.simulator_requests
    with SimulatorThread(fleet.stack.config.parent, settings=STRICT, requests_file=requests) as simulator:
        yield simulator


def start_workers(fleet: Fleet, lane: Lane = Lane.ALERT) -> None:
    """Start as many processes as the tests reckon with."""
    for _ in range(PROCESSES):
        fleet.stack.start_worker(lane)


def carried(fleet: Fleet, key_id: str) -> list[float]:
    """Return when Apple saw requests under a key that it refused, in seconds of this machine's clock."""
    apps = {KEY: APP, "KEYTEAMBBB": THIRD}
    return [
        request["at"]
        for request in fleet.requests()
        if request["reason"] == REFUSED_KEY and request["topic"] == apps[key_id]
    ]


def parked(fleet: Fleet, app: str) -> int:
    """Return how many of an app's batches of alerts are parked."""
    return sum(fleet.state.zcard(redis_keys.parked(shard, app, Lane.ALERT)) for shard in range(ids.SHARDS))


def paused(fleet: Fleet) -> list[str]:
    """Return the scopes that are paused."""
    return [scope.decode() for scope in fleet.state.hkeys(redis_keys.paused())]


def test_revoked_key_under_load(fleet: Fleet, apple: SimulatorThread, devices: Devices) -> None:
    """A revoked key stops within 2 s after what was in flight, others go on; valid again, everything is delivered."""
    start_workers(fleet)
    fleet.warm_up("alert", 2000)
    device_tokens = devices(20_000)
    fleet.push.send_many(APP, device_tokens, payload=PAYLOAD, push_type="alert")
    fleet.wait_for_requests(2000)
    apple.call(apple.simulator.world.revoke, KEY)
    revoked_at = time.time()
    fleet.wait_for(lambda: paused(fleet) == [f"*|*|{KEY}"], within_s=10)
    others = fleet.push.send_many(THIRD, devices(1000), payload=PAYLOAD, push_type="alert")
    fleet.wait_for(lambda: sum(request["topic"] == THIRD for request in fleet.requests()) >= others.accepted)
    probes = [at for at in carried(fleet, KEY) if at > revoked_at + 2]
    assert len(probes) <= 8, "only probes leave"
    assert fleet.counters("refused") == fleet.counters("dead_lettered") == 0
    apple.call(apple.simulator.world.revoked.clear)
    fleet.wait_until_settled(within_s=60)
    accepted = Counter(request["apns_id"] for request in fleet.requests() if request["status"] == 200)
    assert len(accepted) == len(device_tokens) + others.accepted
    assert fleet.counters("delivered") == len(accepted)
    assert paused(fleet) == []


def test_wrong_key_from_the_start(fleet: Fleet, apple: SimulatorThread, devices: Devices) -> None:
    """At most 8 requests per process carry a wrong key; the right one in its place delivers all, without a restart."""
    file = fleet.stack.config.parent / key_file(KEY)
    right = file.read_bytes()
    write_wrong_key(file)
    start_workers(fleet)
    fleet.push.send_many(APP, devices(500), payload=PAYLOAD, push_type="alert")
    fleet.wait_for(lambda: paused(fleet) == [f"*|*|{KEY}"])
    fleet.wait_for(lambda: b'"probes":0' not in fleet.state.hget(redis_keys.paused(), f"*|*|{KEY}"))
    assert len(carried(fleet, KEY)) <= 8 * PROCESSES
    assert apple.call(lambda: apple.simulator.stats.answers[200, ""]) == 0
    file.write_bytes(right)
    fleet.wait_until_settled(within_s=60)
    assert fleet.counters("delivered") == 500
    assert paused(fleet) == []


def test_wrong_environment(fleet: Fleet, devices: Devices) -> None:
    """Of 10,000 pushes to the wrong environment fewer than 200 leave, and no device token is reported dead."""
    start_workers(fleet)
    fleet.warm_up("alert", 500)
    device_tokens = [special_device_token(Form.BAD, number) for number in range(10_000)]
    fleet.push.send_many(THIRD, device_tokens, payload=PAYLOAD, push_type="alert")
    fleet.wait_for(lambda: paused(fleet) == [f"{THIRD}|*|*"])
    fleet.wait_for(lambda: parked(fleet, THIRD) == 20, within_s=60)
    fleet.push.send_many(APP, devices(100), payload=PAYLOAD, push_type="alert")
    fleet.wait_for(lambda: fleet.counters("delivered") == 100)
    assert sum(request["topic"] == THIRD for request in fleet.requests()) < 200
    assert fleet.counters("refused") == 0
    assert fleet.feedback() == []


def test_few_bad_device_tokens(fleet: Fleet, devices: Devices) -> None:
    """With one bad device token in a hundred each is reported, and nothing pauses."""
    start_workers(fleet)
    bad = {special_device_token(Form.BAD, number) for number in range(100)}
    device_tokens = devices(9900)
    for place, device_token in enumerate(sorted(bad)):
        device_tokens.insert(place * 100, device_token)
    fleet.push.send_many(APP, device_tokens, payload=PAYLOAD, push_type="alert")
    fleet.wait_until_settled(within_s=60)
    told = fleet.feedback()
    assert {each.device_token for each in told} == bad
    assert {each.outcome for each in told} == {Outcome.REFUSED}
    assert fleet.counters("delivered") == 9900
    assert paused(fleet) == []


def test_new_key_while_workers_run(fleet: Fleet, devices: Devices) -> None:
    """An app that is given another key under load loses nothing: no restart, no refusal, no push sent twice."""
    start_workers(fleet)
    fleet.warm_up("alert", 500)
    receipt = fleet.push.send_many(APP, devices(10_000), payload=PAYLOAD, push_type="alert")
    config = fleet.stack.config
    changed = config.read_text(encoding="utf-8").replace(f'key = "{KEY}"', f'key = "{NEW_KEY}"')
    config.write_text(changed, encoding="utf-8")
    sent = receipt.accepted
    while not any(request["key_id"] == NEW_KEY for request in fleet.requests()):
        sent += fleet.push.send_many(APP, devices(100), payload=PAYLOAD, push_type="alert").accepted
        fleet.wait_until_settled()
        assert sent < 10**6, "the new key is never used"
    for worker in [child for child in fleet.stack.children if child.name.startswith(Lane.ALERT)]:
        worker.send_signal(signal.SIGTERM)
        assert poll(partial(has_ended, worker), within_s=15)
        fleet.stack.start_worker(Lane.ALERT)
        sent += fleet.push.send_many(APP, devices(1000), payload=PAYLOAD, push_type="alert").accepted
    fleet.wait_until_settled(within_s=60)
    assert {request["status"] for request in fleet.requests()} == {200}
    assert len(fleet.seen()) == len(fleet.requests()) == sent
    assert {request["key_id"] for request in fleet.requests()} == {KEY, NEW_KEY}


def has_ended(worker: Child) -> bool:
    """Tell whether a process is gone."""
    return not worker.is_running


def write_wrong_key(file: Path) -> None:
    """Put a key that Apple does not know in the place of the right one."""
    wrong = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(wrong)
