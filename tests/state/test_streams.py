"""Streams are bounded by length and by age, and what was trimmed is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import redis_keys, streams
from dispatcher.notes import Ends, Notes

if TYPE_CHECKING:
    from tests.state.conftest import StateUnderTest

APP = "com.example.app"
SHARD = 3
DAY_MS = 86_400_000

NewId = Callable[[], str]


def fill(state: StateUnderTest, stream: str, count: int, *, first_ms: int = 1) -> None:
    """Lay so many entries into a stream, one millisecond apart."""
    pipeline = state.client.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd(stream, {"reason": "old"}, id=f"{first_ms + number}-0")
    pipeline.execute()


@pytest.mark.parametrize(
    ("stream", "length", "counter"),
    [
        (redis_keys.feedback(SHARD), 100_000, "feedback_trimmed|||"),
        (redis_keys.dead(SHARD, APP), 10_000, f"dead_trimmed|{APP}||"),
    ],
    ids=["feedback", "dead letters"],
)
def test_a_stream_is_bounded_by_length(
    state: StateUnderTest, new_id: NewId, stream: str, length: int, counter: str
) -> None:
    """An entry added to a full stream pushes the oldest out, some hundred at once, and their number is counted."""
    fill(state, stream, length + 500)
    batch_id = new_id()
    state.put(batch_id)
    state.claim(batch_id)
    entry: list[str | int] = ["reason", "new"]
    notes = Notes(ended=[0], ends=Ends(feedback=[entry], dead=[entry]))
    assert state.settle(batch_id, "one", notes, size=1)
    left = state.client.xlen(stream)
    assert length <= left <= length + 200
    assert state.counters()[counter] == length + 501 - left
    ((_, newest),) = state.client.xrevrange(stream, count=1)
    assert newest[b"reason"] == b"new"


def test_a_stream_that_is_not_full_loses_nothing(state: StateUnderTest, new_id: NewId) -> None:
    """As long as there is room nothing is trimmed, and no counter says so."""
    batch_id = new_id()
    state.put(batch_id)
    state.claim(batch_id)
    state.settle(batch_id, "one", Notes(ended=[0], ends=Ends(feedback=[["reason", "new"]])), size=1)
    state.run(streams.trim(SHARD, [APP]))
    assert state.client.xlen(redis_keys.feedback(SHARD)) == 1
    assert not any("trimmed" in field for field in state.counters())


def test_streams_are_bounded_by_age(state: StateUnderTest) -> None:
    """Feedback is kept for 7 days and dead letters, also unreadable ones, for 30; what is older is counted."""
    seconds: Any = state.client.time()[0]
    now_ms = int(seconds) * 1000
    ages = {
        redis_keys.feedback(SHARD): 7,
        redis_keys.dead(SHARD, APP): 30,
        redis_keys.dead(SHARD, redis_keys.UNREADABLE): 30,
    }
    for number, (stream, days) in enumerate(ages.items(), start=1):
        fill(state, stream, number, first_ms=now_ms - days * DAY_MS - 60_000)
        fill(state, stream, 1, first_ms=now_ms - days * DAY_MS + 60_000)
    assert state.run(streams.trim(SHARD, [APP])) == 1 + 2 + 3
    assert [state.client.xlen(stream) for stream in ages] == [1, 1, 1]
    assert state.counters() == {"feedback_trimmed|||": 1, f"dead_trimmed|{APP}||": 2, "dead_trimmed|unreadable||": 3}
    assert state.run(streams.trim(SHARD, [APP])) == 0
