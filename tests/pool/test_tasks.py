"""How tasks run and what is reported of them; the tests share one worker."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery

from tests.pool.harness import Broker, Events, of, until

pytestmark = pytest.mark.usefixtures("worker")


def test_events_carry_the_result_text_and_the_error_as_they_are(client: Celery, events: Events) -> None:
    """A returned string arrives unquoted, with its runtime; an exception arrives as its own repr."""
    nap = client.send_task("pool_app.nap", ["x", 0.2]).id
    failing = client.send_task("pool_app.fail", ["no luck"]).id
    succeeded = of(events, nap, "task-succeeded")
    assert succeeded["result"] == "slept 0.2, pool-loop"
    assert 0.2 <= succeeded["runtime"] < 1
    assert of(events, nap, "task-started")["uuid"] == nap
    assert of(events, failing, "task-failed")["exception"] == "ValueError('no luck')"


def test_events_do_not_wait_for_the_next_message(client: Celery, events: Events) -> None:
    """The event of a success leaves when the task ends, not when Celery's idle loop wakes up a second later."""
    delays_s = []
    for _ in range(4):
        started_at = time.monotonic()
        of(events, client.send_task("pool_app.nap", ["x", 0]).id, "task-succeeded")
        delays_s.append(time.monotonic() - started_at)
    assert min(delays_s) < 0.4


def test_system_exit_in_a_task_fails_only_that_task(client: Celery, events: Events) -> None:
    """SystemExit raised by a coroutine is a failure; the loop goes on."""
    exiting = client.send_task("pool_app.leave_the_interpreter").id
    assert "SystemExit(3)" in of(events, exiting, "task-failed")["exception"]
    assert of(events, client.send_task("pool_app.nap", ["x", 0]).id, "task-succeeded")


def test_a_task_knows_its_request_its_queue_and_the_lifespan(client: Celery, events: Events) -> None:
    """The context variables of a running task are its own request, and what the lifespan had set."""
    task_id = client.send_task("pool_app.whoami").id
    assert of(events, task_id, "task-succeeded")["result"] == f"pool {task_id} lifespan of pool_app"


def test_ordinary_tasks_run_in_threads_beside_coroutines(valkey: Broker, client: Celery, events: Events) -> None:
    """A blocking task has its self.request, a thread of the pool, and does not hold up the loop."""
    task_id = client.send_task("pool_app.ordinary", [0.5]).id
    of(events, task_id, "task-started")
    client.send_task("pool_app.nap", ["x", 0])
    until(lambda: valkey.number("ended:x"))
    assert not any(e["type"] == "task-succeeded" and e["uuid"] == task_id for e in events)
    assert f"{task_id} on pool-sync-0" in of(events, task_id, "task-succeeded")["result"]


@pytest.mark.parametrize("limit_s", [None, 0.3], ids=["of the task", "of the message"])
def test_a_task_over_its_time_limit_is_cancelled_and_fails(client: Celery, events: Events, limit_s: Any) -> None:
    """The event names TimeLimitExceeded and the limit, which a message may lower."""
    task_id = client.send_task("pool_app.hang_with_limit", time_limit=limit_s).id
    assert of(events, task_id, "task-failed")["exception"] == f"TimeLimitExceeded({limit_s or 1.0})"
