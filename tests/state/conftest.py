"""A state server with a clock that tests move by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count as counting
from typing import Any
from uuid import uuid4

import pytest

from dispatcher import ids, outbox, record, redis_keys, sweeping
from dispatcher.claimed import Claimed
from dispatcher.feedback import Feedback, decode
from dispatcher.notes import Notes
from dispatcher.notification import Report
from dispatcher.outbox import Acceptance
from dispatcher.push_types import Environment, Lane
from dispatcher.record import Record
from dispatcher.scripts import Clock
from dispatcher.sealing import PLAIN, batch_place
from dispatcher.state_call import StateCall
from dispatcher.state_server import StateServer
from tests.state.slot_words import Slots, stored_once

APP = "com.example.app"
QUEUE = "apns.alert"


class StateUnderTest:
    """The state server, a movable clock, and short words for what the tests do with it."""

    def __init__(self, url: str) -> None:
        self._numbers = counting(1)
        self.server = StateServer(url, clock=Clock.SHIFTED, timeout_s=4.0)
        self.client: Any = self.server.client  # its replies are bytes, which its annotations leave open

    def run(self, call: StateCall[Any]) -> Any:
        """Run a call."""
        return self.server.run(call)

    def advance(self, seconds: float) -> None:
        """Let time pass in every shard."""
        for shard in range(ids.SHARDS):
            self.client.incrbyfloat(redis_keys.clock(shard), seconds)

    def put(self, batch_id: str, *, count: int = 1, queue: str = QUEUE, digest: str = "", **changes: Any) -> Acceptance:
        """Accept a batch of alerts."""
        batch = make_record(count=count, **changes)
        call = outbox.put(
            batch_id,
            record.encode(batch, batch_place(batch_id), PLAIN),
            app=APP,
            lane=Lane.ALERT,
            queue=queue,
            count=count,
            digest=digest,
            times=outbox.times_of(batch),
        )
        return Acceptance(self.run(call))

    def now(self) -> float:
        """Return the state server's time."""
        return float(self.run(outbox.time()))

    def claim(self, batch_id: str, claim_id: str = "one", *, lease_s: float = 30, queue: str = QUEUE) -> Claimed:
        """Claim a batch of alerts."""
        claimed = self.run(outbox.claim(batch_id, claim_id, lane=Lane.ALERT, queue=queue, lease_s=lease_s))
        assert isinstance(claimed, Claimed)
        return claimed

    def progress(self, batch_id: str, claim_id: str, notes: Notes, *, size: int, number: int | None = None) -> bool:
        """Note progress; without a number as a bunch of its own."""
        call = outbox.progress(
            batch_id,
            claim_id,
            notes,
            app=APP,
            lane=Lane.ALERT,
            lease_s=30,
            size=size,
            number=next(self._numbers) if number is None else number,
        )
        return bool(self.run(call).is_ours)

    def settle(self, batch_id: str, claim_id: str, notes: Notes, *, size: int, park_until: float | None = None) -> bool:
        """Settle."""
        call = outbox.settle(batch_id, claim_id, notes, app=APP, lane=Lane.ALERT, size=size, park_until=park_until)
        return bool(self.run(call))

    def sweep(self, shard: int) -> list[str]:
        """Sweep a shard; returns the ids to be published."""
        return [message.batch_id for message in self.run(sweeping.sweep(shard, Lane.ALERT)).messages]

    def where(self, batch_id: str) -> set[str]:
        """Return in which of the sets a batch is."""
        shard = ids.shard_of(batch_id)
        sets = {
            "queued": redis_keys.queued(shard, QUEUE),
            "leased": redis_keys.leased(shard, Lane.ALERT),
            "due": redis_keys.due(shard, Lane.ALERT),
            "parked": redis_keys.parked(shard, APP, Lane.ALERT),
        }
        return {name for name, key in sets.items() if self.client.zscore(key, batch_id) is not None}

    def feedback(self) -> list[Feedback]:
        """Return all feedback."""
        return [
            decode(fields, stream_id=stream_id.decode(), shard=shard, sealing=PLAIN)
            for shard in range(ids.SHARDS)
            for stream_id, fields in self.client.xrange(redis_keys.feedback(shard))
        ]

    def counters(self) -> Counter[str]:
        """Return all counters, summed over the shards."""
        total: Counter[str] = Counter()
        for shard in range(ids.SHARDS):
            for field, count in self.client.hgetall(redis_keys.counters(shard)).items():
                total[field.decode()] += int(count)
        return total

    def keys(self) -> set[str]:
        """Return every key but counters, streams, clocks, remembered ids, sends and ends."""
        left = {key.decode() for key in self.client.keys("*")}
        others = ("counters", "feedback", "clock", "seen:", "sent:", "ended:")
        return {key for key in left if not any(word in key for word in others)}


def make_record(
    *, count: int = 1, report: Report = Report.FAILURES, push_type: str = "alert", **changes: Any
) -> Record:
    """Return a record of alerts."""
    return Record(
        app=APP,
        environment=Environment.PRODUCTION,
        push_type=push_type,
        device_tokens=tuple(f"{number:064x}" for number in range(count)),
        payload=b'{"aps":{"alert":"hi"}}',
        priority=10,
        report=report,
        **changes,
    )


@pytest.fixture
def state(state_url: str) -> Iterator[StateUnderTest]:
    """Return the emptied state server."""
    under_test = StateUnderTest(state_url)
    yield under_test
    under_test.server.close()


@pytest.fixture(name="new_id")
def new_id_in_one_shard() -> Callable[[], str]:
    """Return a maker of fresh batch ids, all in shard 3."""
    return lambda: ids.new_batch_id(3, uuid4().bytes)


@pytest.fixture
def quiet_record() -> Callable[..., Record]:
    """Return a maker of background records for one device."""
    return lambda report: make_record(report=Report(report), push_type="background")


@pytest.fixture(params=["failures", "everything"])
def slot_words(state: StateUnderTest, request: pytest.FixtureRequest) -> Slots:
    """Return words for slots, for notifications of which only failures are told, and for tracked ones that tell all."""
    report = Report(request.param)
    tracked = report is Report.EVERYTHING
    return Slots(state, stored_once(make_record(report=report, track=tracked, push_type="background")))
