"""Nothing is accepted that there is no room for: the caller is told which mark was reached, and may send again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from dispatcher import Backpressure, Dispatcher, EnqueueError, Settings, ids
from dispatcher.admission import LOOK_EVERY_S
from dispatcher.dev.embedded import EmbeddedServer
from tests.chaos.proxy import HOST, Direction, Network, Proxy
from tests.conductor.test_dispatcher import APP, DEVICE_TOKEN, counted, messages
from tests.conftest import Eventually

MARK: Final = ids.SHARDS  # the smallest there is: one batch per shard
BALLAST_BYTES: Final = 32 << 20
ALERT: Final = {"aps": {"alert": "hi"}}
UPDATE: Final = {"aps": {"content-available": 1}}

Send = Callable[..., Any]


def alert(push: Dispatcher, **options: Any) -> Any:
    """Send an alert."""
    return push.alert(APP, DEVICE_TOKEN, title="hi", **options)


def update(push: Dispatcher, **options: Any) -> Any:
    """Send an update for a device that has none waiting."""
    return push.background(APP, os.urandom(32).hex(), **options)


def alerts(push: Dispatcher, **options: Any) -> Any:
    """Send alerts in bulk."""
    return push.send_many(APP, [DEVICE_TOKEN, "cd" * 32], payload=ALERT, push_type="alert", **options)


def updates(push: Dispatcher, **options: Any) -> Any:
    """Send updates in bulk."""
    device_tokens = [f"{number:04x}" for number in range(60)]
    return push.send_many(APP, device_tokens, payload=UPDATE, push_type="background", **options)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """Run a server whose settings a test may change."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def own_state(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """Return a plain connection to it; it holds so much that a connection more or less is no matter."""
    with redis.Redis.from_url(server.url) as client:
        client.setrange("ballast", BALLAST_BYTES, "x")
        yield client


@pytest.fixture
def own_env(env: dict[str, str], server: EmbeddedServer) -> dict[str, str]:
    """Return the environment of a web app with that server for everything."""
    return {**env, "APNS_BROKER_URL": server.url}


@pytest.fixture
def own_settings(own_env: dict[str, str]) -> Settings:
    """Return its settings."""
    return Settings.from_env(own_env)


@pytest.fixture
def own_push(own_settings: Settings) -> Iterator[Dispatcher]:
    """Return a dispatcher on it."""
    with Dispatcher(own_settings) as dispatcher:
        yield dispatcher


@pytest.fixture
def low_marks(env: dict[str, str], apns_config: Path, tmp_path: Path) -> Iterator[Dispatcher]:
    """Return a dispatcher that lets one batch wait in each shard."""
    config = tmp_path / "apns.toml"
    config.write_text(f"{apns_config.read_text()}\n[enqueue]\nmax_waiting = {MARK}\n")
    with Dispatcher(Settings.from_env({**env, "APNS_CONFIG": str(config)})) as dispatcher:
        yield dispatcher


def fill(server: redis.Redis, share: float) -> None:
    """Let a server's memory be used to a share of its maxmemory."""
    used: Any = server.info("memory")
    server.config_set("maxmemory", int(used["used_memory"] / share))


def keys_of(server: redis.Redis) -> set[bytes]:
    """Return every key."""
    found: Any = server.keys("*")
    return set(found)


@pytest.mark.parametrize("send", [alert, update, alerts, updates])
def test_a_full_server_takes_no_more(
    own_settings: Settings, own_push: Dispatcher, own_state: redis.Redis, send: Send
) -> None:
    """Above the mark of memory everything is refused, before anything is written; below it, everything is taken."""
    fill(own_state, 0.80)
    send(own_push)
    fill(own_state, 0.90)
    before = keys_of(own_state)
    with Dispatcher(own_settings) as at_its_first_look, pytest.raises(Backpressure) as caught:
        send(at_its_first_look)
    assert caught.value.mark == "max_memory_share"
    assert caught.value.certainly_not_accepted
    assert "max_memory_share" in str(caught.value)
    assert keys_of(own_state) == before


def test_filling_up_is_noticed_within_a_second(
    own_push: Dispatcher, own_state: redis.Redis, eventually: Eventually
) -> None:
    """A dispatcher in use looks once a second; once refused, the first send after there is room again is taken."""
    alert(own_push)
    fill(own_state, 0.9)

    def is_refused() -> bool:
        try:
            alert(own_push)
        except Backpressure:
            return True
        return False

    eventually(is_refused, within_s=LOOK_EVERY_S + 0.5)
    own_state.config_set("maxmemory", 0)
    assert alert(own_push).queued


@pytest.mark.parametrize("send", [alert, update, alerts, updates])
def test_memory_used_up_is_the_same(own_push: Dispatcher, own_state: redis.Redis, send: Send) -> None:
    """Between two looks it is the server itself that refuses: that is backpressure too, and nothing was written."""
    send(own_push)
    before = keys_of(own_state)
    own_state.config_set("maxmemory", 1)
    with pytest.raises(Backpressure) as caught:
        send(own_push)
    assert caught.value.mark in {"maxmemory", "max_memory_share"}
    assert keys_of(own_state) == before


def test_a_full_queue_takes_no_more(low_marks: Dispatcher, state: redis.Redis) -> None:
    """Where a shard's part of the mark waits, a batch is refused by name of its queue; other queues still take some."""
    caught = []
    for _ in range(10 * MARK):
        try:
            alert(low_marks)
        except Backpressure as exc:
            caught.append(exc)
    assert counted(state, "accepted") == len(messages(state, "apns.alert")) == MARK
    assert len(caught) == 9 * MARK
    assert {(exc.mark, exc.queue, exc.certainly_not_accepted) for exc in caught} == {
        ("max_waiting", "apns.alert", True)
    }
    assert alerts(low_marks).accepted == 2
    assert update(low_marks).queued


def test_what_is_for_later_does_not_wait_in_a_queue(low_marks: Dispatcher, state: redis.Redis) -> None:
    """A notification for tomorrow is taken, however long the queue is today."""
    (now_s, _) = state.time()
    receipts = [alert(low_marks, send_at=now_s + 3600) for _ in range(3 * MARK)]
    assert len({receipt.apns_id for receipt in receipts}) == 3 * MARK


def test_a_bulk_call_says_how_far_it_came(low_marks: Dispatcher, state: redis.Redis) -> None:
    """Refused in the middle, a bulk call reports what it had accepted; with its key it goes on from there."""
    device_tokens = [f"{number:08x}" for number in range(4 * MARK * ids.MAX_BATCH_SIZE)]

    def send() -> Any:
        return low_marks.send_many(APP, device_tokens, payload=ALERT, push_type="alert", idempotency_key="campaign")

    with pytest.raises(Backpressure) as caught:
        send()
    assert caught.value.accepted is not None
    accepted = caught.value.accepted.accepted
    assert 0 < accepted == counted(state, "accepted") <= MARK * ids.MAX_BATCH_SIZE
    (refused,) = caught.value.apns_ids
    assert refused not in {batch.batch_id for batch in caught.value.accepted.batches}
    for shard in range(ids.SHARDS):
        state.delete(f"apns:{{{shard:02d}}}:queued:apns.alert.bulk")
    with pytest.raises(Backpressure) as caught:
        send()
    assert caught.value.accepted is not None
    assert caught.value.accepted.accepted - caught.value.accepted.repeated > 0
    assert counted(state, "accepted") == caught.value.accepted.accepted


@pytest.mark.parametrize("send", [alert, alerts, updates])
def test_sending_again_after_backpressure_is_accepted_once(
    own_push: Dispatcher, own_state: redis.Redis, send: Send
) -> None:
    """With one idempotency key, a call refused for want of room and made again any number of times is accepted once."""

    def call() -> None:
        send(own_push, idempotency_key="once")

    own_state.config_set("maxmemory", 1)
    with pytest.raises(Backpressure):
        call()
    own_state.config_set("maxmemory", 0)
    call()
    once = counted(own_state, "accepted")
    own_state.config_set("maxmemory", 1)
    call()
    own_state.config_set("maxmemory", 0)
    call()
    assert counted(own_state, "accepted") == once > 0


@pytest.mark.parametrize("send", [alert, alerts, updates])
def test_sending_again_after_a_lost_answer_is_accepted_once(
    own_env: dict[str, str], own_state: redis.Redis, server: EmbeddedServer, send: Send, eventually: Eventually
) -> None:
    """When the server accepted it but its answer was lost, the same call again, with its key, adds nothing."""
    port = int(server.url.rpartition(":")[2].removesuffix("/0"))
    with Proxy(HOST, port) as proxy:
        env = {**own_env, "APNS_STATE_URL": f"redis://{HOST}:{proxy.port}/0", "APNS_TIMEOUT": "0.6"}
        with Dispatcher(Settings.from_env(env)) as push:
            alert(push)  # so that the connection is there
            before = counted(own_state, "accepted")
            proxy.set(Network(hold=frozenset({Direction.TO_CLIENT})))
            with pytest.raises(EnqueueError) as caught:
                send(push, idempotency_key="once")
            assert not caught.value.certainly_not_accepted
            if send is not updates:  # these ask first which scripts the server knows, and get no answer to that
                eventually(lambda: counted(own_state, "accepted") > before)
            proxy.set(Network())
            send(push, idempotency_key="once")
            once = counted(own_state, "accepted")
            send(push, idempotency_key="once")
        assert counted(own_state, "accepted") == once == before + {alert: 1, alerts: 2, updates: 60}[send]
