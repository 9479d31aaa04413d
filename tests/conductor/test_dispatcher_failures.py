"""A call never hangs: it is accepted, refused, or says what is in doubt; then sending again is safe."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from dispatcher import Dispatcher, EnqueueError, NotificationError, Settings, ids, redis_keys, slots
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.ports import free_port
from tests.conductor.conftest import Bench, make_record
from tests.conductor.recording_publisher import make_sweeper
from tests.conductor.test_dispatcher import APP, DEVICE_TOKEN, counted, messages

TIMEOUT_S = 0.6


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """Run a server that a test may stop or end."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def quick(env: dict[str, str]) -> dict[str, str]:
    """Return the environment of a web app that does not wait long."""
    return {**env, "APNS_TIMEOUT": str(TIMEOUT_S)}


def alert(push: Dispatcher, **options: Any) -> Any:
    """Send an alert."""
    return push.alert(APP, DEVICE_TOKEN, title="hi", **options)


def test_a_broker_that_is_gone_does_not_lose_it(quick: dict[str, str], state_url: str, state: redis.Redis) -> None:
    """With the state server up and the broker gone the notification is accepted, and known to be not queued."""
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    with Dispatcher(Settings.from_env({**quick, "APNS_BROKER_URL": nobody, "APNS_STATE_URL": state_url})) as push:
        receipts = [alert(push), push.background(APP, DEVICE_TOKEN)]
        bulk = push.send_many(APP, ["ab", "cd"], payload={"aps": {"alert": "hi"}}, push_type="alert")
    assert [receipt.queued for receipt in [*receipts, *bulk.batches]] == [False, False, False]
    assert counted(state, "accepted") == 4


async def test_a_sweep_publishes_what_the_broker_missed(quick: dict[str, str], state_url: str, bench: Bench) -> None:
    """What was accepted while the broker was gone is found by a marker and published by a worker."""
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    with Dispatcher(Settings.from_env({**quick, "APNS_BROKER_URL": nobody, "APNS_STATE_URL": state_url})) as push:
        apns_id = alert(push).apns_id
    bench.advance(6)
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    await sweeper.sweep()
    ((queue, sent),) = publisher.markers
    await sweeper.marker_out(queue, sent)
    assert publisher.published() == [apns_id]


def test_a_silent_broker_costs_one_timeout(quick: dict[str, str], state_url: str, server: EmbeddedServer) -> None:
    """A broker that does not answer is waited for once, within the timeout; then it is left alone for a while."""
    settings = Settings.from_env({**quick, "APNS_BROKER_URL": server.url, "APNS_STATE_URL": state_url})
    with Dispatcher(settings) as push:
        assert alert(push).queued
        os.kill(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        assert not alert(push).queued
        assert time.monotonic() - started < 2 * TIMEOUT_S
        started = time.monotonic()
        assert [alert(push).queued for _ in range(20)] == [False] * 20
        assert time.monotonic() - started < TIMEOUT_S
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_broker_that_refuses_does_not_lose_it(
    quick: dict[str, str], state_url: str, server: EmbeddedServer, setting: tuple[str, str]
) -> None:
    """A broker that takes no more, because it is full or cut off, leaves the notification accepted."""
    settings = Settings.from_env({**quick, "APNS_BROKER_URL": server.url, "APNS_STATE_URL": state_url})
    with redis.Redis.from_url(server.url) as broker, Dispatcher(settings) as push:
        broker.config_set(*setting)
        assert not alert(push).queued


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_state_server_that_refuses_took_nothing(
    quick: dict[str, str], server: EmbeddedServer, setting: tuple[str, str]
) -> None:
    """A state server that is full or cut off says so, and certainly accepted nothing."""
    with (
        redis.Redis.from_url(server.url) as state,
        Dispatcher(Settings.from_env({**quick, "APNS_STATE_URL": server.url})) as push,
    ):
        assert alert(push).queued
        state.config_set(*setting)
        for send in (alert, lambda push: push.background(APP, DEVICE_TOKEN)):
            with pytest.raises(EnqueueError) as caught:
                send(push)
            assert caught.value.certainly_not_accepted
        assert counted(state, "accepted") == 1


def test_a_state_server_that_is_gone_took_nothing(quick: dict[str, str], server: EmbeddedServer) -> None:
    """When nobody listens any more the error comes within the timeout, and nothing was accepted."""
    with Dispatcher(Settings.from_env({**quick, "APNS_STATE_URL": server.url})) as push:
        assert alert(push).queued
        server.stop()
        started = time.monotonic()
        with pytest.raises(EnqueueError) as caught:
            alert(push)
        assert time.monotonic() - started < 2 * TIMEOUT_S
        assert caught.value.certainly_not_accepted
        assert "not accepted" in str(caught.value)


@pytest.mark.parametrize("push_type", ["alert", "background"])
def test_in_doubt_sending_again_is_accepted_once(quick: dict[str, str], server: EmbeddedServer, push_type: str) -> None:
    """A silent state server may have taken it; sending again with the error's apns id is accepted once."""
    body: dict[str, Any] = {"title": "hi"} if push_type == "alert" else {"data": {"sync": "inbox"}}
    with Dispatcher(Settings.from_env({**quick, "APNS_STATE_URL": server.url})) as push:
        send = getattr(push, push_type)
        send(APP, "cd", **body)
        os.kill(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(EnqueueError) as caught:
            send(APP, DEVICE_TOKEN, **body)
        assert time.monotonic() - started < 2 * TIMEOUT_S
        assert not caught.value.certainly_not_accepted
        (apns_id,) = caught.value.apns_ids
        os.kill(server.pid, signal.SIGCONT)
        receipts = [send(APP, DEVICE_TOKEN, **body, apns_id=apns_id) for _ in range(2)]
        assert {receipt.apns_id for receipt in receipts} == {apns_id}
        assert receipts[1].repeated
    with redis.Redis.from_url(server.url) as state:
        assert counted(state, "accepted") == 2


def test_updates_in_bulk_may_be_in_doubt_too(quick: dict[str, str], server: EmbeddedServer) -> None:
    """When the state server falls silent during updates in bulk, the error says so, and what went before."""
    with Dispatcher(Settings.from_env({**quick, "APNS_STATE_URL": server.url})) as push:
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(EnqueueError) as caught:
            push.send_many(APP, ["ab", "cd"], payload={"aps": {"content-available": 1}}, push_type="background")
        os.kill(server.pid, signal.SIGCONT)
    assert not caught.value.certainly_not_accepted
    assert caught.value.accepted is not None
    assert caught.value.accepted.accepted == 0


def test_an_error_names_no_secret(quick: dict[str, str], server: EmbeddedServer) -> None:
    """What a failed call says holds neither the device token nor the payload nor the server's address."""
    with Dispatcher(Settings.from_env({**quick, "APNS_STATE_URL": server.url})) as push:
        server.stop()
        with pytest.raises(EnqueueError) as caught:
            push.alert(APP, DEVICE_TOKEN, title="canary")
    assert not any(secret in str(caught.value) for secret in (DEVICE_TOKEN, "canary", server.url))


def test_the_broker_alone_sees_no_payload(quick: dict[str, str], state_url: str, server: EmbeddedServer) -> None:
    """With two servers the broker's holds ids and nothing else, the state server's no message."""
    settings = Settings.from_env({**quick, "APNS_BROKER_URL": server.url, "APNS_STATE_URL": state_url})
    with Dispatcher(settings) as push, redis.Redis.from_url(server.url) as broker:
        apns_id = push.alert(APP, DEVICE_TOKEN, title="canary").apns_id
        (message,) = messages(broker, "apns.alert")
        assert message["args"] == [apns_id]
        assert b"canary" not in message["raw"]
        assert not broker.keys(f"{redis_keys.PREFIX}*{{*")


def test_a_bulk_call_that_fails_in_part_leaves_doubt(push: Dispatcher, state: redis.Redis) -> None:
    """When some device's slot cannot be written, the error does not claim that nothing was accepted."""
    tokens = [f"{number:04x}" for number in range(100)]
    records = [make_record(push_type="background", device_tokens=(each,)) for each in tokens]
    broken = slots.device_of(records[50])
    shard = ids.shard_of_device(broken)
    state.set(redis_keys.slot(shard, broken.hex()), "no hash")
    same_shard = [each.device_tokens[0] for each in records if ids.shard_of_device(slots.device_of(each)) == shard]
    with pytest.raises(EnqueueError) as caught:
        push.send_many(APP, same_shard, payload={"aps": {"content-available": 1}}, push_type="background")
    assert len(same_shard) > 1
    assert not caught.value.certainly_not_accepted


def test_one_string_is_not_many_device_tokens(push: Dispatcher) -> None:
    """A bulk call with one device token in place of an iterable is refused, not taken apart."""
    with pytest.raises(NotificationError) as caught:
        push.send_many(APP, "ab" * 32, payload={"aps": {"alert": "hi"}}, push_type="alert")
    assert caught.value.field == "device_tokens"
