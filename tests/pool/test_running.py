"""What tasks and operators see of the pool while a worker runs."""

from __future__ import annotations

import signal
from typing import Any

from celery import Celery

from tests.pool.harness import Broker, Events, Launch, of, until


def test_tasks_of_one_process_overlap_up_to_c_and_the_rest_stays_queued(
    broker: Broker, client: Celery, launch: Launch
) -> None:
    """With -c 4, 4 of 12 sleeping tasks run at once in one process; the other 8 are still messages in Redis."""
    launch(4)
    for _ in range(12):
        client.send_task("pool_app.nap", ["x", 0.4])
    until(lambda: broker.number("running:x") == 4)
    assert broker.queue.llen("pool") == 8
    until(lambda: broker.number("ended:x") == 12)
    assert broker.store.zscore("highest", "x") == 4
    assert broker.queue.hlen("unacked") == 0


def test_inspect_and_pool_grow(broker: Broker, client: Celery, launch: Launch) -> None:
    """Inspect shows tasks in flight and the limit; pool_grow lets more run at once, pool_shrink fewer."""
    worker = launch(1)
    inspect: Any = client.control.inspect([worker.hostname], timeout=2)
    first, second = (client.send_task("pool_app.hang", ["x"]).id for _ in range(2))
    until(lambda: broker.number("started:x") == 1)
    assert [task["id"] for task in inspect.active()[worker.hostname]] == [first]
    assert inspect.stats()[worker.hostname]["pool"]["max-concurrency"] == 1
    client.control.pool_grow(1, destination=[worker.hostname], reply=True)
    until(lambda: broker.number("started:x") == 2)
    assert {task["id"] for task in inspect.active()[worker.hostname]} == {first, second}
    pool = inspect.stats()[worker.hostname]["pool"]
    assert (pool["max-concurrency"], pool["in-flight"], pool["processes"]) == (2, 2, [worker.process.pid])
    client.control.pool_shrink(1, destination=[worker.hostname], reply=True)
    assert inspect.stats()[worker.hostname]["pool"]["max-concurrency"] == 1


def test_revoke_with_terminate_cancels_that_task_only(
    broker: Broker, client: Celery, launch: Launch, events: Events
) -> None:
    """The coroutine is cancelled, the task is reported as revoked, its neighbour runs on and its place is free."""
    launch(2)
    doomed, _ = (client.send_task("pool_app.hang", [name]).id for name in ("doomed", "other"))
    until(lambda: broker.number("started:doomed") and broker.number("started:other"))
    client.control.revoke(doomed, terminate=True)
    assert of(events, doomed, "task-revoked")["terminated"] is True
    until(lambda: broker.number("cancelled:doomed"))
    assert of(events, client.send_task("pool_app.nap", ["x", 0]).id, "task-succeeded")
    assert broker.number("cancelled:other") == 0
    assert not any(e["type"] == "task-failed" for e in events)


def test_what_was_prefetched_waits_unacknowledged(
    broker: Broker, client: Celery, launch: Launch, events: Events
) -> None:
    """Without `worker_disable_prefetch` the pool keeps to -c, too: the next task waits, and can be revoked."""
    worker = launch(1, prefetch="1")
    first, revoked, kept = (client.send_task("pool_app.hang", [name]).id for name in ("first", "revoked", "kept"))
    until(lambda: broker.number("started:first") and broker.queue.hlen("unacked"))
    assert worker.pool_info(client)["waiting"] == 1
    client.control.revoke(revoked, terminate=True, destination=[worker.hostname], reply=True)
    client.control.revoke(first, terminate=True, destination=[worker.hostname], reply=True)
    assert of(events, revoked, "task-revoked")
    until(lambda: broker.number("started:kept"))
    assert broker.number("started:revoked") == 0
    client.send_task("pool_app.hang", ["last"])
    until(lambda: broker.queue.hlen("unacked"))
    client.control.revoke(kept, terminate=True)
    until(lambda: broker.number("started:last"))
    client.send_task("pool_app.nap_until_stop", ["given back"])
    until(lambda: broker.queue.hlen("unacked"))
    worker.stop(signal.SIGQUIT)
    assert broker.queue.llen("pool") == 1
    assert broker.number("started:given back") == 0
