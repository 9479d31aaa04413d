"""The users of deploy/users.acl, as deploy/users.sh spells them for a server."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import pytest

from dispatcher.dev.users import Role, Users

PASSWORDS: Final[Mapping[Role, str]] = {role: f"{role}-secret" for role in Role}


class Spell(Protocol):
    """Runs users.sh."""

    def __call__(self, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Take what .env says."""
        ...


def env_of(passwords: Mapping[Role, str]) -> dict[str, str]:
    """Return how .env names passwords."""
    return {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()}


@pytest.fixture(scope="session")
def spell(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Spell:
    """Return a function that runs users.sh with an .env of its own."""
    directory = tmp_path_factory.mktemp("users")

    def run(variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        env = directory / ".env"
        env.write_text("".join(f"{name}={text}\n" for name, text in variables.items()), encoding="utf-8")
        command = ["/bin/sh", str(root / "deploy/users.sh"), str(env)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    return run


@pytest.fixture(scope="session")
def users(spell: Spell, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Return the users with their passwords."""
    acl_file = tmp_path_factory.mktemp("acl") / "users.acl"
    acl_file.write_text(spell(env_of(PASSWORDS)).stdout, encoding="utf-8")
    return Users(acl_file=acl_file, passwords=PASSWORDS)
