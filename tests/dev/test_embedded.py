"""The embedded server is a real one, set up as in production, and never outlives its owner."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from dispatcher.dev import guard
from dispatcher.dev.embedded import EmbeddedServer

if TYPE_CHECKING:
    from tests.conftest import Eventually
    from tests.dev.conftest import StartProgram

OWNER = """
import sys
from dispatcher.dev.embedded import EmbeddedServer
with EmbeddedServer() as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def test_keeps_every_write_and_drops_none(state_server: EmbeddedServer) -> None:
    """It writes an append-only file every second and refuses writes rather than evict."""
    with redis.Redis.from_url(state_server.url, decode_responses=True) as client:
        settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert settings == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


def test_is_beyond_the_reach_of_ctrl_c(state_server: EmbeddedServer) -> None:
    """It is in a session of its own, so that a terminal's Ctrl-C does not end it before its users."""
    assert os.getsid(state_server.pid) == state_server.pid != os.getsid(0)


def test_keeps_its_data_in_a_given_directory(tmp_path: Path) -> None:
    """What was written is there again after a stop and a start in the same directory."""
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("greeting", "hello")
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("greeting") == b"hello"


def test_comes_back_after_a_kill(tmp_path: Path) -> None:
    """Killed and restarted it answers at the same address, with what it had confirmed."""
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("greeting", "hello")
        url, pid = server.url, server.pid
        server.child.kill()
        server.restart()
        assert (server.url, server.pid != pid) == (url, True)
        assert client.get("greeting") == b"hello"


def test_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once stopped, its process and its temporary directory are gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedServer() as server:
        pid = server.pid
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_has_no_process_before_it_starts() -> None:
    """Asking for the process of a server that was not started is an error, not a guess."""
    with pytest.raises(RuntimeError, match="has not been started"):
        EmbeddedServer().pid  # noqa: B018  the property raises


def test_ends_with_an_owner_that_is_killed(
    start_program: StartProgram, living: Callable[[], list[str]], eventually: Eventually
) -> None:
    """SIGKILL of the process that started it ends it too."""
    owner = start_program("-c", OWNER)
    assert owner.stdout is not None
    assert int(owner.stdout.readline()) > 0
    assert any("valkey-server" in command for command in living())
    owner.send_signal(signal.SIGKILL)
    eventually(lambda: not living())


def test_guard_keeps_to_what_has_not_ended() -> None:
    """The guard remembers what was started and forgets what has ended."""
    assert guard.remaining(["+12\n", "+34\n", "-12\n", "+56\n"]) == {34, 56}
