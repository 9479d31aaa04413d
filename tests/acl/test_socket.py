"""Users log in by name over a unix socket too: web app, worker and Flower, whatever their passwords are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import redis

from dispatcher import Dispatcher, Lane, Settings, ids, redis_keys, routing
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard, poll
from dispatcher.dev.flower import is_healthy
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack
from dispatcher.dev.users import Role, Users
from tests.acl.conftest import WriteUsers, env_of
from tests.running_fleet import APP
from tests.safe_server import SOCKET, safe_server

#: What addresses are made of is escaped in them.
PASSWORDS: Final = {role: f"{role}/s@c:r%t" for role in Role}
WITHIN_S: Final = 30.0

_ROW: Final = re.compile(r"<tr id=\"([^\"]+)\">\s*<td>[^<]*</td>\s*<td[^>]*>(\d+)</td>")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverSocket:
    """Who works over a socket.

    Attributes:
        env_of: The environment variables of a role.
        start: Starts a program in a role.
        admin: The administrator's connection.
    """

    env_of: Callable[[Role], dict[str, str]]
    start: Callable[[str, list[str], Role], Child]
    admin: Any


@pytest.fixture
def over_socket(write_users: WriteUsers, tmp_path: Path) -> Iterator[OverSocket]:
    """Run a simulator and, with the users, a server that is reached over its socket."""
    acl_file = tmp_path / "users.acl"
    write_users(acl_file, env_of(PASSWORDS))
    users, directory = Users(acl_file=acl_file, passwords=PASSWORDS), tmp_path / "server"
    with ExitStack() as running:
        admin_url = running.enter_context(safe_server(directory, users=users))
        stack = Stack(tmp_path / "stack", lanes=())
        running.callback(stack.stop)
        stack.start_servers()
        guard = running.enter_context(Guard())

        def env_over_socket(role: Role) -> dict[str, str]:
            login = f"{role}:{quote(PASSWORDS[role], safe='')}"
            return {**stack.env_of(role), "APNS_BROKER_URL": f"redis+socket://{login}@{directory / SOCKET}"}

        def start(name: str, command: list[str], role: Role) -> Child:
            env = programs.environment(env_over_socket(role))
            child = guard.start(name, command, log=tmp_path / f"{name}.log", env=env, directory=tmp_path)
            running.callback(guard.stop, [child], within_s=10)
            return child

        admin = running.enter_context(redis.Redis.from_url(admin_url))
        yield OverSocket(env_of=env_over_socket, start=start, admin=admin)


def test_web_app_and_worker_log_in_over_a_socket(over_socket: OverSocket) -> None:
    """A notification is put, published and sent; nobody is refused; the log has no password."""
    worker = over_socket.start("worker", programs.worker(Lane.ALERT, 1), Role.WORKER)
    with Dispatcher(Settings.from_env(over_socket.env_of(Role.PRODUCER))) as push:
        sent = push.alert(APP, device_token(1), title="hi")
    assert sent.queued
    counters = redis_keys.counters(ids.shard_of(sent.apns_id))
    field = redis_keys.counter("delivered", app=APP, lane=Lane.ALERT)
    assert poll(lambda: over_socket.admin.hget(counters, field) == b"1", within_s=WITHIN_S), _log(worker)
    assert over_socket.admin.acl_log() == []
    assert not _passwords_in(_log(worker))


def test_flower_logs_in_over_a_socket(over_socket: OverSocket) -> None:
    """Flower reads the lengths of the queues as its own user, which its own reader of a socket would not."""
    over_socket.admin.lpush(routing.single_queue(Lane.VOIP), *"abc")
    port = free_port()
    flower = over_socket.start("flower", programs.flower(port), Role.FLOWER)
    assert poll(lambda: is_healthy(port), within_s=WITHIN_S), _log(flower)
    assert dict(_lengths_shown_by_flower(port)) == {**dict.fromkeys(routing.QUEUE_LANES, "0"), "apns.voip": "3"}
    assert over_socket.admin.acl_log() == []
    assert not _passwords_in(_log(flower))


def test_a_worker_survives_garbage_over_a_socket(over_socket: OverSocket) -> None:
    """What cannot be read is put aside, as it is where the broker is reached over a network."""
    queue = routing.single_queue(Lane.ALERT)
    over_socket.admin.lpush(queue, b"garbage")
    worker = over_socket.start("worker", programs.worker(Lane.ALERT, 1), Role.WORKER)
    kept = f"_garbage.{queue}"
    assert poll(lambda: over_socket.admin.lrange(kept, 0, -1) == [b"garbage"], within_s=WITHIN_S), _log(worker)
    assert worker.is_running


def _lengths_shown_by_flower(port: int) -> list[tuple[str, str]]:
    with urlopen(f"http://{HOST}:{port}/broker", timeout=10) as answer:
        return _ROW.findall(answer.read().decode())


def _passwords_in(text: str) -> list[str]:
    return [word for word in PASSWORDS.values() if word in text or quote(word, safe="") in text]


def _log(child: Child) -> str:
    return child.log.read_text(encoding="utf-8", errors="replace")
