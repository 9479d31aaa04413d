"""The container image: its command, its health check and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.safe_server import safe_server

if TYPE_CHECKING:
    from tests.packaging.conftest import Image

pytestmark = pytest.mark.timeout(300)  # the installation comes over the network

START_S: Final = 30.0
STOP_S: Final = 10.0
APNS_TOML: Final = """
[keys.KEYID12345]
team_id = "TEAMID1234"
file = "AuthKey_KEYID12345.p8"

[apps."com.example.app"]
key = "KEYID12345"
"""


@pytest.fixture
def environment(image: Image, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Return the environment of a container: what the image sets, a server and a configuration with a fresh key."""
    signing_key = ec.generate_private_key(ec.SECP256R1())
    key_file = tmp_path / "AuthKey_KEYID12345.p8"
    key_file.write_bytes(signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_file.chmod(0o400)
    (tmp_path / "apns.toml").write_text(APNS_TOML, encoding="utf-8")
    with safe_server(tmp_path / "valkey") as url:
        yield {
            **image.environment,
            "PATH": f"{image.programs}:{os.defpath}",
            "APNS_CONFIG": str(tmp_path / "apns.toml"),
            "APNS_BROKER_URL": url,
        }


@pytest.fixture
def worker(image: Image, environment: Mapping[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the image's command in an empty working directory; it is gone when the test ends."""
    app_folder = tmp_path / "app"
    app_folder.mkdir()
    with (
        (tmp_path / "worker.log").open("wb") as log,
        subprocess.Popen(image.command("CMD"), env=environment, cwd=app_folder, stdout=log, stderr=log) as process,
    ):
        yield process
        process.kill()


def test_command_is_healthy_and_stops_on_its_signal(
    image: Image,
    environment: Mapping[str, str],
    worker: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    """The installed worker starts, the health check passes, and the stop signal ends it in time with exit code 0."""
    log = tmp_path / "worker.log"
    deadline = time.monotonic() + START_S
    while (health := _health(image, environment)).returncode != 0:
        assert worker.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, health.stderr + log.read_text(encoding="utf-8")
    worker.send_signal(getattr(signal, image.argument("STOPSIGNAL")))
    assert worker.wait(STOP_S) == 0, log.read_text(encoding="utf-8")


def test_health_check_fails_without_worker(image: Image, environment: Mapping[str, str]) -> None:
    """A server that answers is not enough: without a worker of the lane the container is not healthy."""
    health = _health(image, environment)
    assert health.returncode == 1
    assert "Traceback" not in health.stderr


def test_health_check_fails_without_server(image: Image, environment: Mapping[str, str]) -> None:
    """A server that does not answer makes the container unhealthy within the check's time."""
    health = _health(image, {**environment, "APNS_BROKER_URL": "redis://127.0.0.1:1/0"})
    assert health.returncode == 1
    assert "Traceback" not in health.stderr


def test_command_refuses_foreign_workers(image: Image, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Started beside another module called workers, the command says where that is instead of running it."""
    foreign = tmp_path / "workers.py"
    foreign.write_text("raise RuntimeError('the foreign module ran')", encoding="utf-8")
    command = image.command("CMD")
    started = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=START_S, check=False
    )
    assert started.returncode != 0
    assert str(foreign) in started.stderr
    assert "rename" in started.stderr
    assert "the foreign module ran" not in started.stdout + started.stderr


def test_image_does_not_run_as_root(image: Image) -> None:
    """The user is a number other than 0, so that an orchestrator can check it."""
    user_id, group_id = image.argument("USER").split(":")
    assert int(user_id) > 0
    assert int(group_id) > 0


def _health(image: Image, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = image.command("HEALTHCHECK")
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)
