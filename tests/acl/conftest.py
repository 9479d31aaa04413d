"""The users of deploy/users.acl, as deploy/users.sh spells them for a server."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from dispatcher.dev.users import Role, Users

#: redis-py takes a wrong password for a lost connection, and tries again.
AT_ONCE: Final = Retry(NoBackoff(), 0)
PASSWORDS: Final[Mapping[Role, str]] = {role: f"{role}-secret" for role in Role}


class WriteUsers(Protocol):
    """Runs users.sh."""

    def __call__(self, file: Path, variables: Mapping[str, str]) -> str:
        """Write a file with what .env says; return what users.sh tells."""
        ...


def env_of(passwords: Mapping[Role, str]) -> dict[str, str]:
    """Return how .env names passwords."""
    return {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()}


@pytest.fixture(scope="session")
def write_users(root: Path, tmp_path_factory: pytest.TempPathFactory) -> WriteUsers:
    """Return a function that runs users.sh with an .env of its own."""
    env = tmp_path_factory.mktemp("env") / ".env"

    def write(file: Path, variables: Mapping[str, str]) -> str:
        env.write_text("".join(f"{name}={text}\n" for name, text in variables.items()), encoding="utf-8")
        done = run_users_sh(root, file, env)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return write


def run_users_sh(root: Path, file: Path, env: Path) -> subprocess.CompletedProcess[str]:
    """Run users.sh and return how it ended."""
    command = ["/bin/sh", str(root / "deploy/users.sh"), str(file), str(env)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="session")
def users(write_users: WriteUsers, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Return the users with their passwords."""
    acl_file = tmp_path_factory.mktemp("acl") / "users.acl"
    write_users(acl_file, env_of(PASSWORDS))
    return Users(acl_file=acl_file, passwords=PASSWORDS)
