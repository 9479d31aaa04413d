"""Procfile, compose file and image say the same about the same processes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from dispatcher.dev.users import Role
from dispatcher.push_types import Lane

LOGIN: Final = re.compile(r"redis\+socket://(\w+):\$\{(\w+)_PASSWORD:\?[^}]*\}@/run/valkey/valkey\.sock")


@pytest.fixture(scope="module")
def procfile(root: Path) -> dict[str, str]:
    """Return the Procfile's commands by name."""
    lines = (root / "Procfile").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Any]:
    """Return the services of the compose file by name."""
    loaded: dict[str, Any] = YAML(typ="safe").load(root / "deploy/compose.yaml")
    services: dict[str, Any] = loaded["services"]
    return services


def test_every_lane_has_a_process_and_flower_too(procfile: dict[str, str], services: dict[str, Any]) -> None:
    """No lane is forgotten in either file."""
    assert set(procfile) == {*Lane, "flower"}
    assert set(services) == {*Lane, "flower", "valkey", "operator"}


@pytest.mark.parametrize("lane", Lane)
def test_lane_has_one_command(procfile: dict[str, str], services: dict[str, Any], lane: Lane) -> None:
    """Both files start a lane by the same command, which takes its own queue and names its worker after it."""
    words = shlex.split(procfile[lane])
    assert words == shlex.split(services[lane]["command"])
    assert words[words.index("-Q") + 1] == f"apns.{lane}"
    assert words[words.index("-n") + 1] == f"{lane}@%h"
    assert services[lane]["environment"]["APNS_LANE"] == lane


def test_image_starts_the_alert_lane(procfile: dict[str, str], root: Path) -> None:
    """Without a command of its own a container is an alert worker, the same as everywhere."""
    dockerfile = (root / "deploy/Dockerfile").read_text(encoding="utf-8").splitlines()
    (command,) = (line.removeprefix("CMD ") for line in dockerfile if line.startswith("CMD "))
    assert json.loads(command) == shlex.split(procfile[Lane.ALERT])


@pytest.mark.parametrize("lane", Lane)
def test_worker_has_time_to_stop_and_comes_back(services: dict[str, Any], lane: Lane) -> None:
    """Workers get 60 s to finish before they are killed, and are started again whenever they end."""
    assert services[lane]["stop_grace_period"] == "60s"
    assert services[lane]["restart"] == "unless-stopped"


def test_server_keeps_what_it_is_given(services: dict[str, Any]) -> None:
    """The server writes to its volume, drops nothing when full, and is reached over its socket only."""
    command = services["valkey"]["command"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--port 0" in command
    assert services["valkey"]["volumes"] == ["state:/data", "socket:/run/valkey"]
    assert services["valkey"]["networks"] == ["nowhere"]


def test_everybody_logs_in_in_their_own_role(services: dict[str, Any]) -> None:
    """The server knows its users from the ACL file; each process comes as its own, with a password from .env."""
    assert "--aclfile /run/secrets/users.acl" in services["valkey"]["command"]
    assert services["valkey"]["secrets"] == ["users.acl"]
    found = {
        name: LOGIN.fullmatch(service["environment"]["APNS_BROKER_URL"])
        for name, service in services.items()
        if name != "valkey"
    }
    users = {name: login.groups() for name, login in found.items() if login}
    roles = {"flower": Role.FLOWER, "operator": Role.OPERATOR} | {str(lane): Role.WORKER for lane in Lane}
    assert users == {name: (role, role.upper()) for name, role in roles.items()}


def test_who_reads_records_has_their_keys(services: dict[str, Any]) -> None:
    """Workers and the command line take them from .env; Flower has none."""
    keys = {name: service.get("environment", {}).get("APNS_RECORD_KEYS") for name, service in services.items()}
    assert {name for name, given in keys.items() if given == "${APNS_RECORD_KEYS:-}"} == {*Lane, "operator"}
    assert keys["flower"] is None


def test_the_command_line_starts_only_when_asked(services: dict[str, Any]) -> None:
    """The operator is no process of the fleet: it runs a command and ends, without a signing key."""
    operator = services["operator"]
    assert (operator["profiles"], operator["restart"]) == (["operator"], "no")
    assert operator["entrypoint"] == ["apns-dispatcher"]


def test_only_flower_has_a_port_and_only_workers_have_keys(services: dict[str, Any]) -> None:
    """The one published port is bound to this machine; Flower, which people can reach, has no signing key."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"flower": ["127.0.0.1:5555:5555"]}
    with_keys = {name for name, service in services.items() if "signing-key.p8" in service.get("secrets", [])}
    assert with_keys == set(Lane)


def test_flower_of_procfile_needs_a_password(procfile: dict[str, str], tmp_path: Path) -> None:
    """Flower listens to everybody there: without a password it does not start, and says what to set."""
    environment = {"PATH": str(tmp_path), "PORT": "5555"}
    command = ["/bin/sh", "-c", procfile["flower"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode != 0
    assert "FLOWER_BASIC_AUTH: set it to user:password" in done.stderr
