"""A web app's own Celery task hears its feedback: called while there is any, nothing unheard is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
import redis
from structlog.testing import capture_logs

from dispatcher import Dispatcher, Environment, Feedback, ids, redis_keys, streams
from dispatcher.messages import Publisher, make_celery
from dispatcher.settings import App
from tests.conductor.conftest import APP, Bench, until
from tests.conductor.recording_publisher import RecordingPublisher
from tests.conductor.test_dispatcher import messages
from tests.conductor.test_feedback_reader import ABANDONED_MS, DEVICE_TOKEN, add_record, ended_id, heard, pending
from workers.feedback_pump import FeedbackPump

TASK: Final = "shop.tasks.on_push_feedback"
QUEUE: Final = "shop"
OTHER: Final = "com.example.other"
GROUP: Final = streams.task_group(APP)
CALL: Final = (TASK, QUEUE, APP)


def make_app(bundle_id: str, task: str | None = TASK) -> App:
    """Return an app with a feedback task."""
    return App(
        bundle_id=bundle_id,
        key_id="KEYID12345",
        environment=Environment.PRODUCTION,
        background_per_hour=3,
        background_spacing_s=1200.0,
        feedback_task=task,
        feedback_queue=QUEUE,
    )


def make_pump(bench: Bench, *apps: App, worker: str = "host:1") -> tuple[FeedbackPump, RecordingPublisher]:
    """Return a pump and where it publishes."""
    publisher = RecordingPublisher()
    known = {app.bundle_id: app for app in apps or (make_app(APP),)}
    return FeedbackPump(apps=known, state=bench.state, publisher=publisher, worker=worker), publisher


def tell(state: redis.Redis, count: int, app: str = APP) -> None:
    """Let so many notifications of an app end, spread over the shards."""
    for number in range(count):
        add_record(state, number % ids.SHARDS, app, number=number)


def abandon(state: redis.Redis) -> None:
    """Let what the app's task was given and did not acknowledge look as if that was long ago."""
    for shard in range(ids.SHARDS):
        stream = redis_keys.feedback(shard)
        entries: Any = state.xpending_range(stream, GROUP, "-", "+", 1000)
        if entries:
            state.xclaim(stream, GROUP, "task", 0, [entry["message_id"] for entry in entries], idle=ABANDONED_MS)


async def test_an_app_is_called_while_there_is_feedback(bench: Bench) -> None:
    """Feedback makes one call of the app's task, in its queue; without feedback there is none."""
    pump, publisher = make_pump(bench)
    await pump.pump()
    assert publisher.calls == []
    tell(bench.redis, 40)
    await pump.pump()
    await pump.pump()
    assert publisher.calls == [CALL]


async def test_a_lost_call_is_replaced(bench: Bench) -> None:
    """A call that nobody begins is made again after a minute, and then with growing distance."""
    pump, publisher = make_pump(bench)
    tell(bench.redis, 1)
    await pump.pump()
    calls = []
    for _ in range(10):
        bench.advance(61)
        await pump.pump()
        calls.append(len(publisher.calls))
    assert calls == [2, 2, 3, 3, 3, 3, 4, 4, 4, 4]


async def test_a_call_the_broker_did_not_take_is_made_at_the_next_look(bench: Bench) -> None:
    """A broker that is away for a moment costs a moment, not a minute."""
    pump, publisher = make_pump(bench)
    tell(bench.redis, 1)
    publisher.is_away = True
    await pump.pump()
    publisher.is_away = False
    await pump.pump()
    assert publisher.calls == [CALL]


async def test_only_apps_with_a_task_and_feedback_are_called(bench: Bench) -> None:
    """Feedback of one app does not call the task of another, nor one without a task; each is called by its name."""
    silent = make_app("com.example.silent", task=None)
    other = replace(make_app(OTHER, task="forum.heard"), feedback_queue="forum")
    pump, publisher = make_pump(bench, make_app(APP), other, silent)
    tell(bench.redis, 500, OTHER)
    tell(bench.redis, 20, silent.bundle_id)
    await pump.pump()
    assert publisher.calls == [("forum.heard", "forum", OTHER)]
    tell(bench.redis, 1)
    await pump.pump()
    assert publisher.calls[1:] == [CALL]


async def test_an_app_passes_over_what_is_for_others(bench: Bench) -> None:
    """However much another app has to hear, an app's group gets past it without its task reading anything."""
    pump, publisher = make_pump(bench)
    for _ in range(250):
        add_record(bench.redis, 5, OTHER)
    for _ in range(3):
        await pump.pump()
    bench.redis.delete(redis_keys.feedback_call(APP))
    publisher.calls.clear()
    await pump.pump()
    assert publisher.calls == []
    (group,) = bench.redis.xinfo_groups(redis_keys.feedback(5))
    ((newest, _),) = bench.redis.xrevrange(redis_keys.feedback(5), count=1)
    assert (group["name"], group["last-delivered-id"]) == (GROUP.encode(), newest)


async def test_a_call_holds_no_device_token(bench: Bench, state_url: str) -> None:
    """On the broker a call is an ordinary message in the app's own queue with its bundle id, and nothing else."""
    pump, _ = make_pump(bench)
    publisher = Publisher(make_celery(state_url, timeout_s=1.0))
    tell(bench.redis, 20)
    await replace(pump, publisher=publisher).pump()
    publisher.close()
    (message,) = messages(bench.redis, QUEUE)
    assert (message["task"], message["args"], message["argsrepr"]) == (TASK, [APP], f"({APP})")
    assert DEVICE_TOKEN.encode() not in message["raw"]


def test_the_function_gets_everything_at_most_a_hundred_at_a_time(push: Dispatcher, state: redis.Redis) -> None:
    """Every record of the app reaches the function once, as a record, and none of another app."""
    tell(state, 350)
    tell(state, 30, OTHER)
    taken: list[list[Feedback]] = []
    handle = push.feedback_handler(taken.append)
    assert handle(APP) == 350
    assert all(0 < len(records) <= 100 for records in taken)
    records = [record for part in taken for record in part]
    assert heard(records) == sorted(ended_id(number % ids.SHARDS, number) for number in range(350))
    assert {type(record) for record in records} == {Feedback}
    assert pending(state, GROUP) == 0
    assert handle(APP) == 0
    assert len(taken) < 10, "with nothing to tell the function is not called"


async def test_one_call_of_the_task_is_bounded(bench: Bench, push: Dispatcher) -> None:
    """A call of the task ends after about a thousand records; the fleet calls it again for the rest."""
    tell(bench.redis, 1500)
    pump, publisher = make_pump(bench)
    taken: list[Feedback] = []
    handle = push.feedback_handler(taken.extend)
    calls = 0
    while len(taken) < 1500:
        await pump.pump()
        calls += 1
        assert len(publisher.calls) == calls, "what is left is worth a call as soon as the last one has begun"
        assert handle(APP) <= 1000
    assert len({(record.shard, record.stream_id) for record in taken}) == len(taken) == 1500
    await pump.pump()
    assert len(publisher.calls) == calls


async def test_what_a_failing_function_took_comes_again(bench: Bench, push: Dispatcher) -> None:
    """When the function raises, Celery gets the error, nothing is acknowledged and the task is called again later."""
    tell(bench.redis, 40)
    pump, publisher = make_pump(bench)
    await pump.pump()

    def fail(_records: list[Feedback]) -> None:
        raise RuntimeError("the app's database is down")

    with pytest.raises(RuntimeError, match="database is down"):
        push.feedback_handler(fail)(APP)
    assert pending(bench.redis, GROUP) == 40
    await pump.pump()
    assert publisher.calls == [CALL], "its reader may still be at work"
    abandon(bench.redis)
    await pump.pump()
    assert publisher.calls == [CALL, CALL]
    taken: list[Feedback] = []
    assert push.feedback_handler(taken.extend)(APP) == 40
    assert heard(taken) == sorted(ended_id(number % ids.SHARDS, number) for number in range(40))
    assert pending(bench.redis, GROUP) == 0


async def test_a_record_taken_before_a_failure_does_not_come_again(bench: Bench, push: Dispatcher) -> None:
    """What the function took is acknowledged at once; a later failure only brings back its own records."""
    tell(bench.redis, 200)
    parts: list[Sequence[Feedback]] = []

    def fail_at_second(records: list[Feedback]) -> None:
        parts.append(records)
        if len(parts) == 2:
            raise RuntimeError("once")

    handle = push.feedback_handler(fail_at_second)
    with pytest.raises(RuntimeError):
        handle(APP)
    abandon(bench.redis)
    handle(APP)
    first, failed, *later = parts
    again = [record for part in later for record in part]
    assert len(first) + len(again) == 200
    assert set(heard(failed)) <= set(heard(again))
    assert not set(heard(first)) & set(heard(again))


def test_the_handler_keeps_the_functions_name(push: Dispatcher) -> None:
    """Celery names a task by its function, so the handler has the function's name and module."""

    @push.feedback_handler
    def on_push_feedback(records: list[Feedback]) -> None:
        """Say something."""
        assert records

    assert on_push_feedback.__name__ == "on_push_feedback"
    assert (on_push_feedback.__module__, on_push_feedback.__doc__) == (__name__, "Say something.")


async def test_one_worker_calls_and_trims(bench: Bench) -> None:
    """Of two workers one has the turn; old entries go without anybody's help."""
    bench.redis.xadd(redis_keys.feedback(5), {"reason": "ancient"}, id="1-0")
    tell(bench.redis, 1)
    (first, by_first), (second, by_second) = (make_pump(bench, worker=f"host:{number}") for number in (1, 2))
    pumping = asyncio.create_task(first.keep_pumping())
    await until(lambda: by_first.calls)
    waiting = asyncio.create_task(second.keep_pumping())
    await until(lambda: not bench.redis.xlen(redis_keys.feedback(5)))
    bench.redis.delete(redis_keys.feedback_call(APP))
    await until(lambda: len(by_first.calls) == 2)
    assert by_second.calls == []
    pumping.cancel()
    waiting.cancel()


async def test_an_error_of_the_state_server_does_not_end_pumping(bench: Bench) -> None:
    """A pump goes on once the state server answers again."""
    pump, publisher = make_pump(bench)
    bench.redis.set(redis_keys.feedback(3), "no stream")
    with capture_logs() as logged:
        pumping = asyncio.create_task(pump.keep_pumping())
        await until(lambda: logged)
    assert [line["event"] for line in logged] == ["feedback_pump_failed"]
    bench.redis.delete(redis_keys.feedback(3))
    tell(bench.redis, 1)
    await until(lambda: publisher.calls)
    pumping.cancel()
