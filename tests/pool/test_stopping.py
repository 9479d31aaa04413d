"""How a worker with the pool starts, or refuses to, and how it ends."""

from __future__ import annotations

import signal
import time

from celery import Celery

from tests.pool.harness import Broker, Events, Launch, until


def test_sigterm_lets_the_tasks_in_flight_finish(
    broker: Broker, client: Celery, launch: Launch, events: Events
) -> None:
    """Five tasks of 2 s end; the worker exits with 0 within 4 s, and what had not begun is still queued.

    The event of a task that ends sooner leaves at once, not when the pool is done.
    """
    worker = launch(6)
    quick = client.send_task("pool_app.nap_until_stop", ["quick"]).id
    for _ in range(7):
        client.send_task("pool_app.nap", ["last", 2])
    until(lambda: broker.number("running:last") == 5 and broker.number("running:quick"))
    started_at = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: any(e["type"] == "task-succeeded" and e["uuid"] == quick for e in events), 1.5)
    assert broker.number("ended:last") == 0
    assert worker.process.wait(10) == 0
    assert time.monotonic() - started_at <= 4
    assert broker.number("ended:last") == 5
    assert broker.queue.llen("pool") == 2
    assert broker.queue.hlen("unacked") == 0


def test_tasks_that_watch_stopping_end_by_themselves(broker: Broker, client: Celery, launch: Launch) -> None:
    """`stopping()` is set at SIGTERM, and the lifespan is left after the tasks have ended.

    The limit of 3 s is for a busy machine; one of them may go to the consumer's last BRPOP.
    """
    worker = launch(lifespan="pool_app:lifespan")
    for _ in range(3):
        client.send_task("pool_app.nap_until_stop", ["last"])
    until(lambda: broker.number("running:last") == 3)
    assert worker.stop() < 3
    assert broker.number("ended:last") == 3
    assert broker.store.lrange("lifespan", 0, -1) == ["entered", "left, 3 ended, stopping True"]


def test_tasks_that_never_end_are_cut_off(broker: Broker, client: Celery, launch: Launch) -> None:
    """After the stop timeout, 1.5 s for last answers and the lifespan's second the worker is gone, exit code 0.

    Neither a task that does not even end when cancelled nor a lifespan that cannot be left holds it up.
    """
    worker = launch(stop_timeout_s="0", lifespan="pool_app:stuck_lifespan")
    client.send_task("pool_app.hang", ["hanging"])
    client.send_task("pool_app.refuse_to_die", ["refusing"])
    until(lambda: broker.number("running:hanging") and broker.number("running:refusing"))
    assert 1.5 <= worker.stop() <= 4.5
    assert worker.process.returncode == 0
    assert broker.number("cancelled:hanging") == 1


def test_sigquit_cancels_at_once(broker: Broker, client: Celery, launch: Launch) -> None:
    """A cold shutdown cancels what runs instead of waiting for it."""
    worker = launch()
    client.send_task("pool_app.hang", ["x"])
    until(lambda: broker.number("running:x"))
    assert worker.stop(signal.SIGQUIT) < 3
    assert broker.number("cancelled:x") == 1


def test_sigquit_cuts_a_warm_shutdown_short(broker: Broker, client: Celery, launch: Launch) -> None:
    """SIGQUIT during the wait that follows SIGTERM ends it."""
    worker = launch()
    client.send_task("pool_app.hang", ["x"])
    until(lambda: broker.number("running:x"))
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "Warm shutdown" in worker.log)
    assert worker.stop(signal.SIGQUIT) < 3
    assert broker.number("cancelled:x") == 1


def test_the_shutdown_command_stops_the_worker(broker: Broker, client: Celery, launch: Launch) -> None:
    """`control.shutdown` is a warm shutdown."""
    worker = launch()
    client.send_task("pool_app.nap_until_stop", ["x"])
    until(lambda: broker.number("running:x"))
    client.control.shutdown(destination=[worker.hostname])
    assert worker.process.wait(5) == 0
    assert broker.number("ended:x") == 1


def test_a_failing_lifespan_keeps_the_worker_from_starting(launch: Launch) -> None:
    """The worker exits with an error and the message as its last line."""
    worker = launch(is_ready=False, lifespan="pool_app:failing_lifespan")
    assert worker.process.wait(10) != 0
    assert worker.log.splitlines()[-1] == "RuntimeError: the signing key is missing"


def test_a_wrong_setting_is_told_without_a_traceback(launch: Launch) -> None:
    """An error of ours ends the worker with its own words and nothing around them."""
    worker = launch(is_ready=False, lifespan="pool_app:refusing_lifespan")
    assert worker.process.wait(10) != 0
    assert "APNS_KEY_ID is missing" in worker.log
    assert "Traceback" not in worker.log


def test_a_worker_that_waits_for_its_lifespan_can_be_stopped(broker: Broker, launch: Launch) -> None:
    """SIGTERM ends a worker that has not come to taking tasks."""
    worker = launch(is_ready=False, lifespan="pool_app:waiting_lifespan")
    until(lambda: broker.store.lrange("lifespan", 0, -1))
    assert worker.stop() < 3
