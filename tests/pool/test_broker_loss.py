"""What the pool does when the broker goes away; the only test here, for kombu keeps broken connections."""

from __future__ import annotations

from celery import Celery

from tests.pool.harness import Broker, Launch, until


def test_the_worker_survives_a_broker_restart_with_tasks_in_flight(
    broker: Broker, client: Celery, launch: Launch
) -> None:
    """Tasks in flight end while the broker is away, and new ones are taken when it is back."""
    worker = launch(3)
    for _ in range(3):
        client.send_task("pool_app.nap", ["in flight", 0.5])
    until(lambda: broker.number("running:in flight") == 3)
    broker.server.terminate()
    broker.server.start()
    for _ in range(6):
        client.send_task("pool_app.nap", ["after", 0.1])
    until(lambda: broker.number("ended:after") == 6, 15)
    assert broker.number("ended:in flight") == 3
    assert worker.process.poll() is None
    assert worker.stop() < 3
