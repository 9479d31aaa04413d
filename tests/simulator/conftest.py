"""A simulator on a loop of its own, a clock to move, and a blocking HTTP/2 client to ask it with."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import jwt
import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

from dispatcher.dev.simulator import STRICT, Simulator, SimulatorSettings, device_token

TIMEOUT_S = 10.0
PAUSE_S = 0.05
EPOCH = 1_800_000_000.0
DEVICE_TOKEN = device_token(1)


@dataclass(slots=True)
class Clock:
    """Simulated time that stands still until it is moved."""

    now: float = EPOCH

    def __call__(self) -> float:
        """Return simulated Unix seconds."""
        return self.now


@dataclass(slots=True)
class Reply:
    """What came back on one stream.

    Attributes:
        reset: The error code of RST_STREAM, if the stream ended so.
        is_whole: The stream has ended.
    """

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None
    is_whole: bool = False

    @property
    def status(self) -> int:
        """The HTTP status; 0 before it is known."""
        return int(self.headers.get(":status", 0))

    @property
    def reason(self) -> str:
        """Apple's word for a refusal."""
        return str(json.loads(self.body)["reason"]) if self.body else ""


class Client:
    """One HTTP/2 connection over TLS; every wait has a deadline.

    Args:
        acknowledges: Give the server its window back for bodies received.
    """

    def __init__(self, port: int, ca_file: Path, *, acknowledges: bool = True) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.replies: dict[int, Reply] = {}
        self.goodbye: bytes | None = None
        self.is_closed = False
        self.pongs: list[bytes] = []
        self._acknowledges = acknowledges
        self.flush()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connection."""
        self.socket.close()

    @property
    def max_streams(self) -> int:
        """The server's limit of concurrent streams."""
        return self.http2.remote_settings.max_concurrent_streams

    def start(self, headers: list[tuple[str, str]], body: bytes = b"") -> int:
        """Send a request without waiting; return its stream id."""
        stream_id = self.http2.get_next_available_stream_id()
        self.replies[stream_id] = Reply()
        self.http2.send_headers(stream_id, headers, end_stream=not body)
        for start in range(0, len(body), 16_384):
            piece = body[start : start + 16_384]
            self.http2.send_data(stream_id, piece, end_stream=start + len(piece) == len(body))
        self.flush()
        return stream_id

    def ask(self, headers: list[tuple[str, str]], body: bytes = b"") -> Reply:
        """Send a request and wait for its answer."""
        stream_id = self.start(headers, body)
        reply = self.replies[stream_id]
        self.receive_until(lambda: reply.is_whole)
        return reply

    def receive_until(self, is_done: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Take what the server sends until a condition holds.

        Raises:
            TimeoutError: It does not hold in time.
            ConnectionError: The server left before it held.
        """
        deadline = time.monotonic() + timeout_s
        while not is_done():
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            received = self.socket.recv(65_536)
            if not received:
                self.is_closed = True
                if is_done():
                    return
                raise ConnectionError("the server closed the connection")
            self._take(received)

    def receives(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        """Tell whether a condition comes to hold within a time."""
        try:
            self.receive_until(is_done, timeout_s)
        except TimeoutError:
            return False
        return True

    def is_answered_before(self, is_done: Callable[[], bool], reply: Reply) -> bool:
        """Tell whether anything of an answer came before a condition held that the server brings about elsewhere.

        Raises:
            TimeoutError: The condition does not hold in time.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while not is_done():
            if self.receives(lambda: bool(reply.headers), PAUSE_S):
                return True
            if time.monotonic() > deadline:
                raise TimeoutError
        return self.receives(lambda: bool(reply.headers), PAUSE_S)

    def flush(self) -> None:
        """Send what h2 has ready."""
        self.socket.sendall(self.http2.data_to_send())

    def _take(self, received: bytes) -> None:
        for event in self.http2.receive_data(received):
            self._on_event(event)
        self.flush()

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived():
                self.replies[event.stream_id].headers = {str(name): str(value) for name, value in event.headers}
            case events.DataReceived():
                self.replies[event.stream_id].body += event.data
                if self._acknowledges:
                    self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case events.StreamEnded():
                self.replies[event.stream_id].is_whole = True
            case events.StreamReset():
                self.replies[event.stream_id].reset = int(event.error_code)
                self.replies[event.stream_id].is_whole = True
            case events.ConnectionTerminated():
                self.goodbye = event.additional_data or b""
            case events.PingAckReceived():
                self.pongs.append(event.ping_data)
            case _:
                return


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the request log up to its last whole line."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class RunningSimulator:
    """A simulator on a loop and thread of its own, asked from the test's thread."""

    def __init__(self, directory: Path, settings: SimulatorSettings, clock: Clock, requests_file: Path | None) -> None:
        self.directory = directory
        self.clock = clock
        self.requests_file = requests_file
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.simulator = self.call(self._make, settings)
            self.await_(self.simulator.start)
        except BaseException:
            self._end()
            raise

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on the simulator's loop and return its result."""

        async def on_loop() -> Any:
            return function(*arguments)

        return self.await_(on_loop)

    def await_(self, function: Callable[[], Any]) -> Any:
        """Run a coroutine function on the simulator's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(TIMEOUT_S)

    def connect(self, *, acknowledges: bool = True) -> Client:
        """Open a connection."""
        return Client(self.simulator.port, self.directory / "ca.pem", acknowledges=acknowledges)

    def lines(self) -> list[dict[str, Any]]:
        """Return the request log."""
        assert self.requests_file is not None
        return whole_lines(self.requests_file)

    def sign(self, key_id: str = "KEYLEGACY0", team_id: str = "TEAMAAAAAA", *, age_s: float = 0) -> str:
        """Return a provider token of one of the directory's keys."""
        signing_key = (self.directory / f"AuthKey_{key_id}.p8").read_text()
        claims = {"iss": team_id, "iat": int(self.clock.now - age_s)}
        return jwt.encode(claims, signing_key, algorithm="ES256", headers={"kid": key_id})

    @cached_property
    def provider_token(self) -> str:
        """One valid provider token of the key that may do everything."""
        return self.sign()

    def headers(
        self, *, device_token: str | None = None, provider_token: str | None = None, **changes: str | None
    ) -> list[tuple[str, str]]:
        """Return the headers of a push that Apple accepts, but for what is changed; None leaves one out.

        Names are written with underscores: `apns_topic="com.ex.a"`, `method="GET"`.
        """
        headers: dict[str, str | None] = {
            ":method": "POST",
            ":scheme": "https",
            ":authority": "127.0.0.1",
            ":path": f"/3/device/{DEVICE_TOKEN if device_token is None else device_token}",
            "authorization": f"bearer {provider_token or self.provider_token}",
            "apns-topic": "com.ex.a",
            "apns-push-type": "alert",
            "apns-id": str(uuid.uuid4()),
        }
        for name, value in changes.items():
            headers[f":{name}" if f":{name}" in headers else name.replace("_", "-")] = value
        return [(name, value) for name, value in headers.items() if value is not None]

    def stop(self) -> None:
        """Stop the simulator and its loop."""
        try:
            self.await_(self.simulator.stop)
        finally:
            self._end()

    def _make(self, settings: SimulatorSettings) -> Simulator:
        return Simulator(self.directory, settings=settings, clock=self.clock, requests_file=self.requests_file)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()


class Run(Protocol):
    """Start a simulator that is stopped after the test."""

    def __call__(self, settings: SimulatorSettings = STRICT, where: Path | None = None) -> RunningSimulator:
        """Return it, running."""
        ...


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all simulators of a test run share, so that keys are made once."""
    return tmp_path_factory.mktemp("simulator")


@pytest.fixture
def connect(directory: Path) -> Callable[[int], Client]:
    """Return a function that connects to a port of this machine, trusting the shared directory's CA."""
    return lambda port: Client(port, directory / "ca.pem")


@pytest.fixture
def run(directory: Path, tmp_path: Path) -> Iterator[Run]:
    """Return a function that starts a simulator, stopped after the test."""
    running: list[RunningSimulator] = []

    def start(settings: SimulatorSettings = STRICT, where: Path | None = None) -> RunningSimulator:
        running.append(RunningSimulator(where or directory, settings, Clock(), tmp_path / "requests.jsonl"))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def apns(run: Run) -> RunningSimulator:
    """Return a running simulator of the strict profile."""
    return run()
