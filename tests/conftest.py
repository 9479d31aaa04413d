"""What tests of every kind share: a real state server, a configuration with fresh keys, a dispatcher, whole fleets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
import redis

from dispatcher import Dispatcher, Settings
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.simulator.certificates import open_tls_context
from dispatcher.dev.simulator.config_file import write_config
from dispatcher.dev.simulator.world import CONFIG_FILE, open_world
from dispatcher.dev.stack import Stack
from dispatcher.push_types import Environment
from tests.record_sealing import KEYS_TEXT
from tests.running_fleet import Fleet

ROOT: Final = Path(__file__).parents[1]
_POLL_S: Final = 0.02
_NOBODY: Final = "https://127.0.0.1:1"


class Eventually(Protocol):
    """Waits until something is so; returns whatever truth it found."""

    def __call__(self, is_so: Callable[[], Any], *, within_s: float = 10.0) -> Any:
        """Ask again and again; fail when the time is over."""
        ...


class StartStack(Protocol):
    """Starts a fleet that is gone when the test ends."""

    def __call__(self, **options: Any) -> Stack:
        """Take the options of `Stack` without its directory."""
        ...


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Return a function that waits until something is so, instead of sleeping."""

    def wait(is_so: Callable[[], Any], *, within_s: float = 10.0) -> Any:
        ends = time.monotonic() + within_s
        while not (answer := is_so()):
            assert time.monotonic() < ends, f"not so within {within_s:g} s"
            time.sleep(_POLL_S)
        return answer

    return wait


@pytest.fixture(scope="session")
def state_server() -> Iterator[EmbeddedServer]:
    """Run one Valkey server for the whole session."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def state_url(state_server: EmbeddedServer) -> str:
    """Return the address of an empty state server."""
    with redis.Redis.from_url(state_server.url) as client:
        client.flushall()
    return state_server.url


@pytest.fixture
def state(state_url: str) -> Iterator[redis.Redis]:
    """Return a plain connection to the empty state server; replies are bytes."""
    with redis.Redis.from_url(state_url) as client:
        yield client


@pytest.fixture(scope="session")
def apns_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a configuration file with fresh keys as the simulator does; nobody listens at its endpoints."""
    directory = tmp_path_factory.mktemp("apns")
    open_world(directory)
    open_tls_context(directory)
    write_config(directory, url=_NOBODY, environment=Environment.PRODUCTION)
    return directory / CONFIG_FILE


@pytest.fixture
def env(state_url: str, apns_config: Path) -> dict[str, str]:
    """Return the environment variables of a web app or worker in development; records are sealed with a key."""
    return {
        "APNS_BROKER_URL": state_url,
        "APNS_CONFIG": str(apns_config),
        "APNS_RECORD_KEYS": KEYS_TEXT,
        "APNS_MODE": "development",
    }


@pytest.fixture
def settings(env: dict[str, str]) -> Settings:
    """Return the settings of that environment."""
    return Settings.from_env(env)


@pytest.fixture
def push(settings: Settings) -> Iterator[Dispatcher]:
    """Return a dispatcher; it is closed afterwards."""
    with Dispatcher(settings) as dispatcher:
        yield dispatcher


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Return a function that starts a fleet of real processes, with a server of its own."""
    with ExitStack() as stacks:

        def start(**options: Any) -> Stack:
            return stacks.enter_context(Stack(tmp_path / "stack", **options))

        yield start


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Return a fleet without workers, on servers of its own."""
    stack = Stack(tmp_path / "stack", lanes=())
    stack.start()
    running = Fleet(stack)
    try:
        yield running
    finally:
        running.close()
        stack.stop()
