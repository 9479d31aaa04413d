"""Real workers and producers with a network between them and their server, and servers in every kind of trouble."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, DispatcherError, Lane, Settings
from dispatcher.dev.children import Child, poll
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack
from tests.chaos.proxy import HOST, Proxy
from tests.running_fleet import Fleet
from tests.safe_server import safe_server

APP: Final = "com.example.app"
IS_LONG: Final = os.environ.get("APNS_LONG") == "1"
#: How long a producer may take to say that something is wrong, and a worker to be back when it is over.
PRODUCER_SAYS_WITHIN_S: Final = 3.0
BACK_WITHIN_S: Final = 30.0


def outage_s(short: float, long: float) -> float:
    """Return how long the trouble lasts: the full time only where there is time for it."""
    return long if IS_LONG else short


class Troubled:
    """A fleet whose workers and producers reach their server through a proxy."""

    def __init__(self, fleet: Fleet, proxy: Proxy) -> None:
        self.fleet = fleet
        self.proxy = proxy
        self.url = f"redis://{HOST}:{proxy.port}/0"
        fleet.stack.worker_env = {"APNS_BROKER_URL": self.url}
        self.push = Dispatcher(Settings.from_env({**fleet.stack.env, "APNS_BROKER_URL": self.url}))
        self.accepted: list[str] = []
        self.errors: list[DispatcherError] = []
        self.slowest_s = 0.0

    def send(self, number: int = 1) -> None:
        """Send notifications, and note which were accepted and how long the slowest took."""
        for _ in range(number):
            started = time.monotonic()
            try:
                self.accepted.append(self.push.alert(APP, device_token(len(self.accepted)), title="hi").apns_id)
            except DispatcherError as exc:
                self.errors.append(exc)
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)

    def send_for(self, seconds: float) -> None:
        """Send now and then, for so long."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.send()
            time.sleep(0.1)

    def wait_until_delivered(self, *, within_s: float = BACK_WITHIN_S) -> None:
        """Wait until everything accepted has reached APNs."""
        arrived = poll(lambda: set(self.accepted) <= set(self.fleet.seen()), within_s=within_s)
        assert arrived, self.fleet.describe()

    def assert_told_in_time(self) -> None:
        """Every call came back in time, and some with an error of ours."""
        assert self.errors
        assert self.slowest_s < PRODUCER_SAYS_WITHIN_S

    def assert_without_noise(self, worker: Child) -> None:
        """The worker lives, and has not logged one traceback."""
        assert worker.is_running
        log = worker.log.read_text(encoding="utf-8")
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]


@pytest.fixture
def troubled(fleet: Fleet) -> Iterator[Troubled]:
    """Return a fleet without workers, behind a proxy that is well."""
    with Proxy(HOST, port_of(fleet.stack.server.url)) as proxy:
        running = Troubled(fleet, proxy)
        yield running
        running.push.close()
        fleet.stack.stop_workers()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Return a fleet without workers, on servers of its own."""
    with Stack(tmp_path / "stack", lanes=()) as stack:
        running = Fleet(stack)
        yield running
        running.close()


@pytest.fixture
def worker(troubled: Troubled) -> Child:
    """Return a worker that has sent something already."""
    child = troubled.fleet.stack.start_worker(Lane.ALERT)
    troubled.send(5)
    troubled.wait_until_delivered()
    return child


StartServer = Callable[..., str]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts a server as production wants it, or with other options; it returns its address."""
    numbers = count()
    with ExitStack() as servers:
        yield lambda *options: servers.enter_context(safe_server(tmp_path / f"server-{next(numbers)}", *options))


def port_of(url: str) -> int:
    """Return the port of an address."""
    return int(url.rpartition(":")[2].partition("/")[0])


def config_of(url: str, **options: Any) -> None:
    """Change settings of a server that runs."""
    with redis.Redis.from_url(url) as client:
        for name, value in options.items():
            client.config_set(name.replace("_", "-"), value)
