"""The pytest plugin, in a project of somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPT_START = "import sys, pytest; "

TESTS = """
import sys

import pytest
from dispatcher import Dispatcher, Settings
from push import push


def test_a_push_arrives(apns):
    phone = apns.phone("ab" * 32)
    assert push(apns, "ab" * 32).status == 200
    (arrived,) = apns.wait_for_requests(1)
    assert (arrived.device_token, arrived.topic) == ("ab" * 32, "com.example.app")
    assert [each.payload for each in phone.lock_screen] == [b'{"aps":{"alert":"hi"}}']


def test_a_fault_is_scripted(apns):
    apns.faults.add("service_unavailable", times=1)
    assert [push(apns, "ab" * 32).status for _ in range(2)] == [503, 200]
    assert len(apns.requests) == 2


def test_the_configuration_leads_here(apns):
    env = {"APNS_CONFIG": str(apns.config_file), "APNS_BROKER_URL": "redis://127.0.0.1:1/0"}
    assert apns.url in apns.config_file.read_text()
    assert Settings.from_env(env)


class TestObserved:
    @pytest.fixture
    def apns_settings(self):
        from dispatcher.dev.simulator import OBSERVED

        return OBSERVED

    def test_the_settings_may_be_others(self, apns):
        assert push(apns, "ab" * 32, push_type="background", priority="10").status == 200
"""

PUSH = """
import ssl, socket, time, jwt
from collections import namedtuple
from h2 import connection, config, events

Reply = namedtuple("Reply", "status")
TOKENS = {}


def push(apns, device_token, push_type="alert", priority="10"):
    context = ssl.create_default_context(cafile=str(apns.ca_file))
    context.set_alpn_protocols(["h2"])
    key = (apns.directory / "AuthKey_KEYLEGACY0.p8").read_text()
    token = TOKENS.setdefault(key, jwt.encode({"iss": "TEAMAAAAAA", "iat": int(time.time())}, key, algorithm="ES256",
                                              headers={"kid": "KEYLEGACY0"}))
    host, port = apns.url.removeprefix("https://").split(":")
    h2 = connection.H2Connection(config.H2Configuration(header_encoding="utf-8"))
    with context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=host) as client:
        h2.initiate_connection()
        h2.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":authority", host),
                            (":path", f"/3/device/{device_token}"), ("authorization", f"bearer {token}"),
                            ("apns-topic", "com.example.app"), ("apns-push-type", push_type),
                            ("apns-priority", priority)])
        h2.send_data(1, b'{"aps":{"alert":"hi"}}', end_stream=True)
        client.sendall(h2.data_to_send())
        while True:
            for event in h2.receive_data(client.recv(65536)):
                if isinstance(event, events.ResponseReceived):
                    return Reply(int(dict(event.headers)[":status"]))
"""

HARMLESS = """
import sys


def test_others_are_unharmed():
    assert not {"jwt", "hpack", "dispatcher.dev.simulator"} & set(sys.modules)


def test_it_needs_the_extra(apns):
    raise AssertionError("never reached")
"""


def run_pytest(directory: Path, *arguments: str, start: str = SCRIPT_START) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory, with the plugin, and nothing of this project's own configuration."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "conftest.py").write_text('pytest_plugins = ["dispatcher.dev.pytest_plugin"]\n')
    code = f"{start}sys.exit(pytest.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{directory}"},
    )


def test_a_foreign_project_tests_with_it(tmp_path: Path) -> None:
    """With the fixture alone a project starts the simulator, scripts faults, and sees what arrived and was shown."""
    (tmp_path / "test_pushes.py").write_text(TESTS)
    (tmp_path / "push.py").write_text(PUSH)

    done = run_pytest(tmp_path)

    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_nothing_is_loaded_before_the_fixture_is_used(tmp_path: Path) -> None:
    """Without the dev extra tests that do not use the fixture pass, and the one that does names what to install."""
    (tmp_path / "test_harmless.py").write_text(HARMLESS)

    done = run_pytest(tmp_path, start=f"{SCRIPT_START}sys.modules['h2'] = None; ")

    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "MissingExtraError: the simulator needs the extra 'dev': pip install 'apns-dispatcher[dev]'" in done.stdout
