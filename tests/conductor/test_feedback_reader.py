"""Feedback is read by groups: each group hears everything once, its readers share, and nothing unheard is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
import redis

from dispatcher import Dispatcher, Feedback, FeedbackReader, Outcome, Settings, ids, outbox, redis_keys
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.errors import StateServerError
from dispatcher.notes import Ends, Notes
from dispatcher.push_types import Environment, Lane
from dispatcher.state_server import StateServer
from tests.conductor.conftest import MovableClock
from tests.record_sealing import SEALED, sealed_entry

APP = "com.example.app"
#: Longer than a reader may take before its records are taken for abandoned.
ABANDONED_MS = 61_000
#: A little more than the time after which a reader looks for abandoned records again.
LOOK_EVERY_S = 15.1
DEVICE_TOKEN = "cd" * 32

Tell = Callable[[int], list[str]]


@pytest.fixture
def server(settings: Settings) -> Iterator[StateServer]:
    """Return the state server as a reader uses it."""
    connected = StateServer.of(settings)
    yield connected
    connected.close()


@pytest.fixture
def tell(push: Dispatcher, server: StateServer) -> Tell:
    """Return a function that lets so many notifications end, spread over the shards, and returns their apns ids."""

    def end(apns_id: str) -> None:
        server.run(outbox.claim(apns_id, "one", lane=Lane.ALERT, queue="apns.alert", lease_s=30))
        entry: list[str | int] = [
            "outcome", "unregistered", "apns_id", apns_id, "app", APP, "environment", "production",
            "push_type", "alert", "device_token", SEALED.close_device_token("ab", apns_id),
            "status", 410, "reason", "Unregistered", "unregistered_at", 1_700_000_000_000,
        ]  # fmt: skip
        notes = Notes(ended=[0], ends=Ends(feedback=[entry]))
        assert server.run(outbox.settle(apns_id, "one", notes, app=APP, lane=Lane.ALERT, size=1))

    def end_some(count: int) -> list[str]:
        apns_ids = [push.alert(APP, "ab", title="hi").apns_id for _ in range(count)]
        for apns_id in apns_ids:
            end(apns_id)
        return sorted(apns_ids)

    return end_some


def heard(records: Sequence[Feedback]) -> list[str]:
    """Return the apns ids of records."""
    return sorted(record.apns_id for record in records)


def abandon(state: redis.Redis, group: str, records: Sequence[Feedback]) -> None:
    """Let records look as if they had been read long ago, and never acknowledged."""
    for record in records:
        state.xclaim(redis_keys.feedback(record.shard), group, "gone", 0, [record.stream_id], idle=ABANDONED_MS)


def ended_id(shard: int, number: int) -> str:
    """Return the apns id of the n-th notification that a test lets end in a shard."""
    return ids.new_batch_id(shard, number.to_bytes(16, "little"))


def add_record(state: redis.Redis, shard: int, app: str, *, number: int = 0) -> None:
    """Let a notification of an app end."""
    fields = sealed_entry(
        outcome="refused",
        apns_id=ended_id(shard, number),
        app=app,
        environment="production",
        push_type="alert",
        device_token=DEVICE_TOKEN,
        status=400,
        reason="BadDeviceToken",
        unregistered_at=0,
        at=1.5,
    )
    state.xadd(redis_keys.feedback(shard), fields)


def pending(state: redis.Redis, group: str) -> int:
    """Return how many records a group was given and did not acknowledge."""
    summaries: list[Any] = [state.xpending(redis_keys.feedback(shard), group) for shard in range(ids.SHARDS)]
    return sum(summary["pending"] for summary in summaries)


def looks(state: redis.Redis) -> int:
    """Return how often the server was asked for abandoned records."""
    commands: Any = state.info("commandstats")
    return int(commands["cmdstat_xautoclaim"]["calls"])


def test_records_are_typed(push: Dispatcher, tell: Tell) -> None:
    """A record says in types what ended, how, when and why."""
    (apns_id,) = tell(1)
    (record,) = push.feedback("web").read()
    assert record == Feedback(
        outcome=Outcome.UNREGISTERED,
        apns_id=apns_id,
        app=APP,
        environment=Environment.PRODUCTION,
        push_type="alert",
        device_token="ab",
        status=410,
        reason="Unregistered",
        unregistered_at=1_700_000_000_000,
        at=cast("float", pytest.approx(time.time(), abs=5)),
        stream_id=record.stream_id,
        shard=ids.shard_of(apns_id),
    )


def test_every_shard_is_read(push: Dispatcher, tell: Tell) -> None:
    """One read brings what ended in all shards, from before the group's first read too."""
    apns_ids = tell(100)
    records = push.feedback("web").read()
    assert heard(records) == apns_ids
    assert len({record.shard for record in records}) > 8


def test_each_group_hears_everything_once(push: Dispatcher, tell: Tell) -> None:
    """Groups do not take anything from each other, and hear nothing twice."""
    apns_ids = tell(20)
    web, statistics = push.feedback("web"), push.feedback("statistics")
    assert heard(web.read()) == apns_ids
    assert heard(statistics.read()) == apns_ids
    assert (web.read(), statistics.read()) == ([], [])


def test_readers_of_a_group_share(push: Dispatcher, tell: Tell) -> None:
    """Two readers of one group get every record between them, none both."""
    apns_ids = tell(200)
    one, two = (push.feedback("web", consumer=name) for name in ("one", "two"))
    first, second = one.read(count=5), two.read(count=100)
    assert 0 < len(first) < 200
    assert second
    assert heard([*first, *second]) == apns_ids


def test_unacknowledged_records_come_again(server: StateServer, state: redis.Redis, tell: Tell) -> None:
    """What a reader that is gone did not acknowledge comes to another one after a while, and only that."""
    tell(20)
    clock = MovableClock()
    gone, present = (FeedbackReader(server, "web", name, sealing=SEALED, clock=clock) for name in ("gone", "present"))
    records = gone.read()
    gone.ack(*records[:15])
    assert present.read() == [], "its reader may still be at work"
    abandon(state, "web", records[15:])
    clock.ahead_s += LOOK_EVERY_S
    again = present.read()
    assert heard(again) == heard(records[15:])
    present.ack(*again)
    abandon(state, "web", records)
    clock.ahead_s += LOOK_EVERY_S
    assert present.read() == [], "all of them are acknowledged now"


def test_abandoned_records_are_looked_for_now_and_then(server: StateServer, state: redis.Redis, tell: Tell) -> None:
    """A reader looks for abandoned records at its start and every 15 s, not at each read; found some, it goes on."""
    tell(40)
    clock = MovableClock()
    gone = FeedbackReader(server, "web", "gone", sealing=SEALED, clock=clock)
    records = gone.read()
    late = FeedbackReader(server, "web", "late", sealing=SEALED, clock=clock)
    abandon(state, "web", records)
    found = [*late.read(count=1), *late.read(count=1), *late.read(count=100)]
    assert heard(found) == heard(records), "nothing is new, so all of it comes by looking again at once"
    assert late.read() == []
    looked_before = looks(state)
    for _ in range(5):
        late.read()
    assert looks(state) == looked_before
    clock.ahead_s += LOOK_EVERY_S
    late.read()
    assert looks(state) == looked_before + ids.SHARDS


def test_a_reader_of_one_app_passes_over_the_others(server: StateServer, state: redis.Redis, tell: Tell) -> None:
    """A reader with an app yields that app's records only, and leaves nothing of the others pending in its group."""
    apns_ids = tell(10)
    for shard in range(ids.SHARDS):
        for _ in range(3):
            add_record(state, shard, "com.example.other")
    reader = FeedbackReader(server, "task", "one", sealing=SEALED, app=APP)
    records = reader.read(count=1)
    while more := reader.read(count=1):
        records += more
    assert heard(records) == apns_ids
    assert {record.app for record in records} == {APP}
    reader.ack(*records)
    assert pending(state, "task") == 0
    others = FeedbackReader(server, "web", "one", sealing=SEALED)
    assert len(others.read()) == 10 + 3 * ids.SHARDS, "other groups are not concerned"


def test_acknowledged_records_are_gone_for_their_group(push: Dispatcher, state: redis.Redis, tell: Tell) -> None:
    """After an acknowledgement nothing is pending in the group, whatever time passes."""
    tell(30)
    web = push.feedback("web")
    web.ack(*web.read())
    assert pending(state, "web") == 0


def test_acknowledging_nothing_is_fine(push: Dispatcher) -> None:
    """A reader that got nothing may acknowledge just that."""
    web = push.feedback("web")
    web.ack(*web.read())
    assert web.read() == []


def test_a_read_waits_for_the_first_record(push: Dispatcher, tell: Tell) -> None:
    """A read with a waiting time returns as soon as there is something, and not before."""
    later = threading.Timer(0.3, tell, [1])
    later.start()
    started = time.monotonic()
    records = push.feedback("web").read(wait_s=10)
    later.join()
    assert len(records) == 1
    assert 0.2 < time.monotonic() - started < 5


def test_a_read_does_not_wait_longer(push: Dispatcher) -> None:
    """A read that waits in vain returns nothing when its time is over."""
    started = time.monotonic()
    assert push.feedback("web").read(wait_s=0.3) == []
    assert 0.3 <= time.monotonic() - started < 2


def test_a_reader_goes_on_for_ever(push: Dispatcher, tell: Tell) -> None:
    """Iterating yields what is there and then what comes."""
    first = tell(2)
    records: Iterator[Feedback] = iter(push.feedback("web"))
    assert heard([next(records), next(records)]) == first
    later = threading.Timer(0.1, tell, [1])
    later.start()
    assert next(records).outcome is Outcome.UNREGISTERED
    later.join()


def test_readers_of_several_dispatchers_make_one_group(settings: Settings, push: Dispatcher, tell: Tell) -> None:
    """A second process that prepares the same group joins it."""
    assert push.feedback("web").read() == []
    apns_ids = tell(3)
    with Dispatcher(settings) as other:
        assert heard(other.feedback("web", consumer="other").read()) == apns_ids


def test_a_broken_stream_is_an_error(push: Dispatcher, state: redis.Redis) -> None:
    """Where something else lies in a stream's place reading is an error, not an empty answer."""
    state.set(redis_keys.feedback(3), "no stream")
    with pytest.raises(StateServerError, match="does not answer"):
        push.feedback("web").read()


def test_a_state_server_that_does_not_answer_is_an_error(env: dict[str, str]) -> None:
    """Reading says within the timeout that the state server does not answer, instead of hanging."""
    with EmbeddedServer() as server:
        settings = Settings.from_env({**env, "APNS_STATE_URL": server.url, "APNS_TIMEOUT": "0.6"})
        with Dispatcher(settings) as push:
            web: FeedbackReader = push.feedback("web")
            assert web.read() == []
            os.kill(server.pid, signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises(StateServerError):
                web.read()
            assert time.monotonic() - started < 2
            os.kill(server.pid, signal.SIGCONT)
            assert web.read() == []


def test_a_group_lost_with_the_server_is_made_again(push: Dispatcher, state: redis.Redis) -> None:
    """A reader goes on after the state server has lost its data, and sees what comes then."""
    reader = push.feedback("web")
    reader.read()
    state.flushall()
    assert reader.read() == []


def test_unreadable_feedback_is_passed_over_once(push: Dispatcher, state: redis.Redis) -> None:
    """An entry that this release cannot read does not stop the reader, and does not come again."""
    reader = push.feedback("web")
    state.xadd(redis_keys.feedback(2), {"outcome": "brand_new", "apns_id": "x"})
    assert reader.read() == []
    pending: Any = state.xpending(redis_keys.feedback(2), "web")
    assert pending["pending"] == 0
