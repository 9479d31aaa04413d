"""The state on a cluster: everything works as on one server, also while its shards move or a master dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import uuid4

import pytest
from redis.crc import key_slot

from dispatcher import (
    Cancellation,
    EnqueueError,
    Lane,
    Outcome,
    Report,
    Settings,
    State,
    ids,
    outbox,
    pausing,
    redis_keys,
)
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.dev.children import poll
from dispatcher.dev.servers import Servers
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack
from dispatcher.pausing import PausedBy, Scope
from dispatcher.replay import Replay
from dispatcher.sealing_choice import make_sealing
from dispatcher.state_server import StateServer
from tests.replication.burying import bury
from tests.replication.conftest import Fleet, running
from tests.replication.failing import happen_under_load
from tests.replication.servers import Cluster

APP: Final = "com.example.app"
ALERT: Final = {"aps": {"alert": "hi"}}
UPDATE: Final = {"aps": {"content-available": 1}}
WITHIN_S: Final = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster of three masters, the last with a replica."""
    servers = Cluster(tmp_path_factory.mktemp("cluster") / "nodes")
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def fleet(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a whole fleet with its state there."""
    stack = Stack(tmp_path_factory.mktemp("fleet") / "stack", servers=Servers(state_url=cluster.url))
    with running(stack) as fleet:
        yield fleet


@pytest.fixture
def state(fleet: Fleet) -> Iterator[StateServer]:
    """Return the state server."""
    server = StateServer.of(Settings.from_env(fleet.stack.env))
    yield server
    server.close()


def wait_for(is_so: Callable[[], Any], fleet: Fleet) -> None:
    """Wait until something is so."""
    assert poll(lambda: bool(is_so()), within_s=WITHIN_S), fleet.describe()


def test_every_way_of_sending(fleet: Fleet) -> None:
    """Single calls of each lane, bulk calls and gathered updates all arrive, and feedback tells of each."""
    numbers = iter(range(10**6, 10**7))
    several = [device_token(next(numbers)) for _ in range(40)]
    told: dict[str, Any] = {"report": Report.EVERYTHING}
    push, gathered = fleet.push, device_token(next(numbers))
    singles = [
        push.voip(APP, device_token(next(numbers)), {"call": "8e21"}, expires_in=120, **told),
        push.alert(APP, device_token(next(numbers)), title="Hello", **told),
        push.background(APP, gathered, {"unread": 1}, hold_for=2, **told),
        push.background(APP, gathered, {"unread": 2}, hold_for=2, **told),
    ]
    bulks = [
        push.send_many(APP, several, payload=payload, push_type=push_type, **told)
        for push_type, payload in (("alert", ALERT), ("background", UPDATE))
    ]
    assert [bulk.accepted for bulk in bulks] == [40, 40]
    in_bulk = {f"{each.batch_id[:-4]}{n:04x}" for bulk in bulks for each in bulk.batches for n in range(each.count)}
    wanted = {receipt.apns_id for receipt in singles} | in_bulk
    records = {each.apns_id: each.outcome for each in fleet.feedback("sending", wanted) if each.apns_id in wanted}
    superseded = {apns_id for apns_id, outcome in records.items() if outcome is Outcome.SUPERSEDED}
    assert superseded == {singles[2].apns_id}
    assert {records[apns_id] for apns_id in wanted - superseded} == {Outcome.DELIVERED}


def test_a_notification_is_found_wherever_it_is(fleet: Fleet) -> None:
    """Status and cancel ask every node; one that is over is not cancelled."""
    later = time.time() + 3600
    scheduled = fleet.push.alert(APP, device_token(1), title="Hello", send_at=later)
    held = fleet.push.background(APP, device_token(2), {"sync": "inbox"}, send_at=later)
    sent = fleet.push.alert(APP, device_token(3), title="Hello", track=True)
    states = [fleet.push.status(receipt.apns_id) for receipt in (scheduled, held)]
    assert [status.state for status in states if status] == [State.SCHEDULED, State.HELD]
    assert [fleet.push.cancel(each.apns_id) for each in (scheduled, held)] == [Cancellation.CANCELLED] * 2
    wait_for(lambda: (status := fleet.push.status(sent.apns_id)) and status.state is State.ENDED, fleet)
    assert fleet.push.cancel(sent.apns_id) is Cancellation.ENDED


def test_dead_letters_are_read_replayed_and_dropped(fleet: Fleet, state: StateServer) -> None:
    """What could not be sent lies in its shard's stream on whatever node, and comes back from there."""
    settings = Settings.from_env(fleet.stack.env)
    sealing = make_sealing(settings.record_keys)
    buried = {bury(state, shard, sealing) for shard in range(ids.SHARDS)}
    with DeadLetters(settings) as letters:
        dropped, *others = letters.find(Wanted(app=APP))
        assert {letter.apns_id for letter in (dropped, *others)} == buried
        letters.drop(dropped)
        assert {letters.replay(letter) for letter in others} == {Replay.REPLAYED}
        assert list(letters.find(Wanted(app=APP))) == []
    wait_for(lambda: {letter.apns_id for letter in others} <= sent(fleet), fleet)
    assert dropped.apns_id not in sent(fleet)


def sent(fleet: Fleet) -> set[str]:
    """Return the apns ids of what the simulator has seen."""
    return {each["apns_id"] for each in fleet.requests()}


def test_a_pause_holds_the_whole_fleet(fleet: Fleet, state: StateServer) -> None:
    """What is paused waits in its shard, and is sent once the pause ends."""
    scope = Scope(app=APP, lane="voip")
    state.run(pausing.pause(scope, "operator"))
    try:
        wait_for(lambda: is_parked(fleet, call(fleet, 0)), fleet)
        held = {call(fleet, number) for number in range(1, 20)}
        wait_for(lambda: all(is_parked(fleet, apns_id) for apns_id in held), fleet)
        assert not held & sent(fleet)
    finally:
        state.run(pausing.resume(scope, by=PausedBy.OPERATOR))
    wait_for(lambda: held <= sent(fleet), fleet)


def call(fleet: Fleet, number: int) -> str:
    """Make a call; return its apns id."""
    return fleet.push.voip(APP, device_token(10**7 + number), {"call": "8e21"}, expires_in=300).apns_id


def is_parked(fleet: Fleet, apns_id: str) -> bool:
    """Tell whether a notification is parked."""
    status = fleet.push.status(apns_id)
    return status is not None and status.state is State.PARKED


def test_a_shard_moves_under_load(cluster: Cluster, fleet: Fleet) -> None:
    """Slots that move to another node are followed by everybody; nothing is lost, nothing is sent twice."""
    giver, taker = cluster.masters[:2]
    first, last = 4000, 5000  # the slots of four shards
    result = happen_under_load(
        fleet, lambda: cluster.move(giver, taker, first, last), lambda: cluster.has_slots(taker, first, last)
    )
    print(f"slots moved: {result}")  # noqa: T201  (measured)


def test_a_shard_is_closed_while_it_moves_key_by_key(cluster: Cluster, state: StateServer) -> None:
    """No script ever finds half of what belongs together: its call is refused, and nothing is written."""
    shard = 3
    slot = key_slot(redis_keys.batch(shard, "").encode())
    giver, taker = (node for node in cluster.masters[:2])
    batch_id = ids.new_batch_id(shard, uuid4().bytes)
    call = outbox.put(batch_id, b"{}", app=APP, lane=Lane.ALERT, queue="apns.alert", count=1, digest="")
    before = giver.redis.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)
    with cluster.moving_by_key(giver, taker, slot):
        with pytest.raises(EnqueueError, match=r"\((TryAgain|Ask)Error\)") as caught:
            state.run(call, apns_ids=[batch_id])
        assert caught.value.certainly_not_accepted
        assert giver.redis.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == before
    assert state.run(call, apns_ids=[batch_id]) is outbox.Acceptance.ACCEPTED


def test_a_master_dies(cluster: Cluster, fleet: Fleet) -> None:
    """Its replica takes over; producers and workers find it by themselves, and everything accepted has one end.

    But what the master took with it: of that nobody made sure here, and it was accepted in the last moment.
    """
    result = happen_under_load(fleet, cluster.doomed.child.kill, cluster.has_failed_over, window_s=0.2)
    print(f"cluster: {result}")  # noqa: T201  (measured)
