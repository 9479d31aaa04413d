"""deploy/users.sh makes of deploy/users.acl what a server reads, and passwords can be changed without downtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.users import Role, Users
from tests.acl.conftest import AT_ONCE, PASSWORDS, WriteUsers, env_of, run_users_sh

NEW: Final = "a-new-secret"

Change = Callable[..., None]


@pytest.fixture
def own_users(users: Users, tmp_path: Path) -> Users:
    """Return the users with an ACL file of the test's own."""
    acl_file = tmp_path / "users.acl"
    acl_file.write_text(users.acl_file.read_text(encoding="utf-8"), encoding="utf-8")
    return Users(acl_file=acl_file, passwords=users.passwords)


@pytest.fixture
def server(own_users: Users) -> Iterator[EmbeddedServer]:
    """Run a server whose ACL file the test may change."""
    with EmbeddedServer(users=own_users) as running:
        yield running


@pytest.fixture
def change(write_users: WriteUsers, own_users: Users, server: EmbeddedServer) -> Change:
    """Return a function that writes the file anew, with other passwords in .env, and lets the server load it."""

    def write(**variables: str) -> None:
        write_users(own_users.acl_file, {**env_of(PASSWORDS), **variables})
        with redis.Redis.from_url(server.url) as admin:
            admin.acl_load()

    return write


def test_one_line_for_each_user_and_no_password(users: Users) -> None:
    """Every role is a user, the default user is off, and of passwords there are only hashes."""
    text = users.acl_file.read_text(encoding="utf-8")
    first, *others = (line.split()[:3] for line in text.splitlines())
    assert first == ["user", "default", "off"]
    assert sorted(others) == sorted(["user", role, "on"] for role in Role)
    assert not [password for password in PASSWORDS.values() if password in text]
    assert "PASSWORD" not in text


def test_a_user_without_a_password_cannot_log_in(write_users: WriteUsers, tmp_path: Path) -> None:
    """A password that is missing or empty is told of, and opens nothing."""
    wanted = {**env_of(PASSWORDS), "EXPORTER_PASSWORD": ""}
    del wanted["FEEDBACK_PASSWORD"]
    acl_file = tmp_path / "users.acl"
    told = write_users(acl_file, wanted).splitlines()
    assert [line.split()[2] for line in told] == ["FEEDBACK_PASSWORD", "EXPORTER_PASSWORD"]
    with EmbeddedServer(users=Users(acl_file=acl_file, passwords=PASSWORDS)) as server:
        for role in (Role.FEEDBACK, Role.EXPORTER):
            assert not can_log_in(server, role, "")
            assert not can_log_in(server, role, PASSWORDS[role])
        assert can_log_in(server, Role.FLOWER, PASSWORDS[Role.FLOWER])


def test_without_passwords_the_file_stays_as_it_is(root: Path, tmp_path: Path) -> None:
    """A missing .env is an error; the server would take an empty file for permission to everybody."""
    acl_file = tmp_path / "users.acl"
    acl_file.write_text("as before", encoding="utf-8")
    done = run_users_sh(root, acl_file, tmp_path / ".env")
    assert done.returncode == 1
    assert done.stderr.startswith("users.sh: cannot read ")
    assert acl_file.read_text(encoding="utf-8") == "as before"


def test_a_password_is_changed_without_downtime(server: EmbeddedServer, change: Change) -> None:
    """While it is being changed both are accepted; connections stay open throughout, subscriptions too."""
    with redis.Redis.from_url(server.url_of(Role.WORKER)) as worker:
        listening: Any = worker.pubsub()
        listening.psubscribe("/0.celery.pidbox")
        assert listening.get_message(timeout=5)["type"] == "psubscribe"
        change(WORKER_PASSWORD=NEW, WORKER_PASSWORD_OLD=PASSWORDS[Role.WORKER])
        assert can_log_in(server, Role.WORKER, NEW)
        assert can_log_in(server, Role.WORKER, PASSWORDS[Role.WORKER])
        change(WORKER_PASSWORD=NEW)
        assert can_log_in(server, Role.WORKER, NEW)
        assert not can_log_in(server, Role.WORKER, PASSWORDS[Role.WORKER])
        with redis.Redis.from_url(server.url) as admin:
            admin.publish("/0.celery.pidbox", "still here")
        assert listening.get_message(timeout=5)["data"] == b"still here"
        listening.close()


def can_log_in(server: EmbeddedServer, role: Role, password: str) -> bool:
    """Tell whether a role's password is accepted."""
    place = redis.Redis.from_url(server.url).connection_pool.connection_kwargs
    with redis.Redis(
        host=place["host"], port=place["port"], username=role, password=password, retry=AT_ONCE
    ) as visitor:
        try:
            return bool(visitor.ping())
        except (redis.AuthenticationError, redis.ResponseError):
            return False
