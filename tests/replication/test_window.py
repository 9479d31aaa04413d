"""What a master that dies takes with it, and how to make sure that it takes nothing that was accepted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
import redis

from dispatcher import Dispatcher, EnqueueError, Settings, StateServerError, ids, outbox, redis_keys
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.dev.children import poll
from dispatcher.push_types import Lane
from dispatcher.scripts import Clock
from dispatcher.sealing_choice import make_sealing
from dispatcher.settings import Replicas
from dispatcher.state_server import StateServer
from tests.replication.burying import bury
from tests.replication.servers import Pair

APP: Final = "com.example.app"
LAG_S: Final = 0.2
LOAD_S: Final = 2.0


def put_until_killed(pair: Pair, replicas: Replicas | None) -> dict[str, float]:
    """Accept batches, let the master die under that load, and promote the replica; return when each was accepted."""
    state = StateServer(pair.url, clock=Clock.SERVER, timeout_s=2.0, replicas=replicas)
    accepted: dict[str, float] = {}
    dies_at = time.monotonic() + LOAD_S
    while time.monotonic() < dies_at:
        batch_id = ids.new_batch_id(len(accepted) % ids.SHARDS, uuid4().bytes)
        call = outbox.put(batch_id, b"{}", app=APP, lane=Lane.ALERT, queue="apns.alert", count=1, digest="")
        state.run(call, apns_ids=[batch_id])
        accepted[batch_id] = dies_at - time.monotonic()
    pair.master.child.kill()
    state.close()
    pair.replica.redis.replicaof("NO", "ONE")
    return accepted


def lost(pair: Pair, accepted: dict[str, float]) -> dict[str, float]:
    """Return what the replica does not have, with how long before the end it was accepted."""
    is_there = {batch_id: pair.replica.redis.exists(_key(batch_id)) for batch_id in accepted}
    return {batch_id: left_s for batch_id, left_s in accepted.items() if not is_there[batch_id]}


def test_without_waiting_the_last_moments_are_lost(pair: Pair) -> None:
    """What was accepted within the replica's lag before the master died is gone, and nothing that is older."""
    pair.link.lag_s = LAG_S
    accepted = put_until_killed(pair, None)
    gone = lost(pair, accepted)
    print(f"accepted {len(accepted)} in {LOAD_S:g} s, lost {len(gone)} with a lag of {LAG_S:g} s")  # noqa: T201  (measured)
    assert gone, "the rig can lose"
    assert len(gone) < len(accepted)
    assert max(gone.values()) < LAG_S + 1.0


def test_what_a_replica_confirmed_is_never_lost(pair: Pair) -> None:
    """With one replica waited for, everything accepted is there after the master died, however slow the link."""
    pair.link.lag_s = LAG_S / 10
    accepted = put_until_killed(pair, Replicas(count=1, timeout_ms=900))
    print(f"accepted {len(accepted)} in {LOAD_S:g} s")  # noqa: T201  (measured)
    assert accepted
    assert lost(pair, accepted) == {}


@pytest.fixture
def careful_settings(pair: Pair, apns_config: Path, tmp_path: Path) -> Settings:
    """Return settings that say to wait for a replica."""
    config = tmp_path / "apns.toml"
    text = apns_config.read_text(encoding="utf-8")
    config.write_text(f"{text}\n[enqueue]\nwait_for_replicas = 1\nreplica_timeout_ms = 300\n", encoding="utf-8")
    env = {"APNS_BROKER_URL": pair.url, "APNS_CONFIG": str(config), "APNS_MODE": "development"}
    return Settings.from_env(env)


@pytest.fixture
def careful(careful_settings: Settings) -> Iterator[Dispatcher]:
    """Return a dispatcher that waits for a replica."""
    with Dispatcher(careful_settings) as push:
        yield push


SENDS: Final[list[Callable[[Dispatcher], object]]] = [
    lambda push: push.alert(APP, "ab" * 32, title="Hello"),
    lambda push: push.background(APP, "ab" * 32, {"sync": "inbox"}),
    lambda push: push.send_many(APP, ["ab" * 32, "cd" * 32], payload={"aps": {"alert": "hi"}}, push_type="alert"),
    lambda push: push.send_many(
        APP, ["ab" * 32, "cd" * 32], payload={"aps": {"content-available": 1}}, push_type="background"
    ),
]


@pytest.mark.parametrize("send", SENDS, ids=["alert", "background", "bulk", "background bulk"])
def test_unconfirmed_is_not_called_accepted(
    pair: Pair, careful: Dispatcher, send: Callable[[Dispatcher], object]
) -> None:
    """While the replica hears nothing a call fails in time, and says that it may have been accepted."""
    send(careful)
    pair.link.lag_s = 3600.0
    began = time.monotonic()
    with pytest.raises(EnqueueError, match="0 of 1 replicas confirmed it in time") as caught:
        send(careful)
    assert time.monotonic() - began < 2.0
    assert not caught.value.certainly_not_accepted
    assert caught.value.apns_ids


def test_a_dead_letter_stays_until_its_replay_is_confirmed(pair: Pair, careful_settings: Settings) -> None:
    """A dead letter is dropped only when a replica has what came of it; before, replaying it is an error."""
    with DeadLetters(careful_settings) as letters, redis.Redis.from_url(pair.url) as state:
        buried = bury(StateServer.of(careful_settings), 3, make_sealing(careful_settings.record_keys))
        pair.link.lag_s = 3600.0
        (letter,) = letters.find(Wanted(app=APP))
        with pytest.raises(StateServerError, match="0 of 1 replicas"):
            letters.replay(letter)
        assert [each.apns_id for each in letters.find(Wanted(app=APP))] == [buried]
        assert state.exists(redis_keys.batch(3, buried))


def test_asking_again_waits_again(pair: Pair, careful: Dispatcher) -> None:
    """Sending again with the same id is accepted only once a replica has it, though the call itself writes nothing."""
    pair.link.lag_s = 0.5
    with pytest.raises(EnqueueError) as first:
        careful.alert(APP, "ab" * 32, title="Hello")
    (apns_id,) = first.value.apns_ids
    shard = ids.shard_of(apns_id)
    with pytest.raises(EnqueueError):
        careful.alert(APP, "ab" * 32, title="Hello", apns_id=apns_id)
    pair.link.lag_s = 0.0
    receipt = None

    def is_accepted() -> bool:
        nonlocal receipt
        try:
            receipt = careful.alert(APP, "ab" * 32, title="Hello", apns_id=apns_id)
        except EnqueueError:
            return False
        return True

    assert poll(is_accepted, within_s=10)
    assert receipt is not None
    assert receipt.repeated
    assert pair.replica.redis.exists(redis_keys.batch(shard, apns_id))


def _key(batch_id: str) -> str:
    return redis_keys.batch(ids.shard_of(batch_id), batch_id)
