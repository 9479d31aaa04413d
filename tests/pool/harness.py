"""Workers and a broker that are real processes, and the waiting for them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celery import Celery
from redis import Redis

APP_DIR: Final = Path(__file__).parent / "app"
ROOT: Final = Path(__file__).parents[2]

_numbers = itertools.count()

Events = list[dict[str, Any]]


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Return the first true value of a condition; fail when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


@dataclass
class Worker:
    """One worker process."""

    process: subprocess.Popen[bytes]
    log_path: Path
    hostname: str

    @property
    def log(self) -> str:
        """Everything the worker printed so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = 20.0) -> float:
        """Send a signal and return how many seconds the process took to end."""
        started_at = time.monotonic()
        self.process.send_signal(signum)
        self.process.wait(timeout_s)
        return time.monotonic() - started_at

    def pool_info(self, client: Celery) -> dict[str, Any]:
        """Return what the worker says of its pool."""
        stats: Any = client.control.inspect([self.hostname], timeout=5, limit=1).stats()
        return dict(stats[self.hostname]["pool"])

    def kill(self) -> None:
        """End the process if it still runs."""
        self.process.kill()
        self.process.wait(5)


Launch = Callable[..., Worker]
"""Starts a worker: concurrency, whether to wait for it, and settings of the test app by name."""


@dataclass
class Broker:
    """A Valkey server that can be killed and restarted on its port."""

    server: Any
    port: int

    @property
    def url(self) -> str:
        """Where the broker is."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def queue(self) -> Redis:
        """A client of the database with the queues."""
        return Redis(port=self.port, db=0, decode_responses=True)

    @property
    def store(self) -> Redis:
        """A client of the database where tasks count themselves."""
        return Redis(port=self.port, db=1, decode_responses=True)

    def number(self, name: str) -> int:
        """Return a counter of the tasks."""
        return int(str(self.store.get(name) or 0))


def of(events: Events, task_id: str, kind: str) -> dict[str, Any]:
    """Wait for an event of one task."""
    return dict(until(lambda: next((e for e in events if e.get("uuid") == task_id and e["type"] == kind), None)))


def start_worker(broker: Broker, log_dir: Path, concurrency: int, *, is_ready: bool = True, **settings: str) -> Worker:
    """Start a worker process and, if it is to get ready, wait until it takes tasks."""
    hostname = f"worker{next(_numbers)}@test"
    log_path = log_dir / f"{hostname}.log"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(APP_DIR)]),
        "POOL_TEST_BROKER": broker.url,
        **{f"POOL_TEST_{name.upper()}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "celery", "-A", "pool_app", "worker", "-c", str(concurrency), "-n", hostname]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    if is_ready:
        until(lambda: broker.store.get("ready") == hostname or process.poll() is not None, 20)
        assert process.poll() is None, log_path.read_text()
    return Worker(process, log_path, hostname)
