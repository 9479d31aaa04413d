"""An APNs that does what a test tells it, also what Apple would not: HTTP/2 over TLS on h2, one process, one script.

It checks nothing; the simulator does. Flow control is real in both directions.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

#: What Apple's servers announce once they trust a connection.
FULL_STREAMS: Final = 1000


@dataclass(slots=True)
class SeenRequest:
    """A request as it arrived; `is_whole` once its last byte did, `is_disclaimed` once the server has denied it."""

    connection: int
    stream_id: int
    headers: Mapping[str, str]
    body: bytes = b""
    is_whole: bool = False
    is_disclaimed: bool = False


class ServerConnection(asyncio.Protocol):
    """One connection of the server; the verbs of a script."""

    def __init__(self, server: ScriptedServer, number: int) -> None:
        self.number = number
        self.seen: dict[int, SeenRequest] = {}
        self.most_open = 0
        self.pings = 0
        self.reads = 0
        self.is_deaf = False
        self.last_stream_id = 2**31 - 1
        self._open: set[int] = set()
        self._server = server
        self._unsent: dict[int, bytes] = {}
        self._transport: asyncio.Transport | None = None
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(
            client=False,
            initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: FULL_STREAMS} | dict(server.script.settings),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._server.script.hangs_up:
            self.abort()
            return
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Remember that the client has gone."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Note requests, and hand whole ones to the script."""
        self.reads += 1
        if self.is_deaf or self._server.script.is_deaf:
            return
        try:
            events = self.h2.receive_data(data)
        except ProtocolError as exc:
            self._server.client_faults.append(repr(exc))
            self.abort()
            return
        for event in events:
            self._note(event)
        for stream_id in list(self._unsent):
            self._send_body(stream_id)
        self.flush()

    @property
    def is_open(self) -> bool:
        """Tell whether the client still holds the connection."""
        return self._transport is not None

    def answer(self, stream_id: int, status: int | str, *parts: bytes, **headers: str) -> None:
        """Answer a request; the body in as many pieces as given. Headers with underscores for hyphens."""
        fields = [(":status", str(status)), *((name.replace("_", "-"), value) for name, value in headers.items())]
        self._open.discard(stream_id)
        self.h2.send_headers(stream_id, fields, end_stream=not parts)
        for part in parts[:-1]:
            self.h2.send_data(stream_id, part)
            self.flush()
        if parts:
            self._unsent[stream_id] = parts[-1]
            self._send_body(stream_id)
        self.flush()

    def reset(self, stream_id: int, error_code: ErrorCodes) -> None:
        """Reset a stream."""
        self.h2.reset_stream(stream_id, error_code)
        self.seen[stream_id].is_disclaimed = error_code == ErrorCodes.REFUSED_STREAM
        self._open.discard(stream_id)
        self.flush()

    def go_away(self, last_stream_id: int, debug: bytes = b"") -> None:
        """Send GOAWAY and stay: h2 itself would fall silent, so only its frame is taken."""
        state = self.h2.state_machine.state
        self.h2.close_connection(last_stream_id=last_stream_id, additional_data=debug)
        self.h2.state_machine.state = state
        self.last_stream_id = last_stream_id
        for stream_id in self._open:
            self.seen[stream_id].is_disclaimed = stream_id > last_stream_id
        self.flush()

    def settings(self, settings: Mapping[SettingCodes, int]) -> None:
        """Change the server's settings."""
        self.h2.update_settings({int(code): value for code, value in settings.items()})
        self.flush()

    def credit(self, increment: int, stream_id: int | None = None) -> None:
        """Let the client send more."""
        self.h2.increment_flow_control_window(increment, stream_id)
        self.flush()

    def write(self, raw: bytes) -> None:
        """Send bytes that need not be HTTP/2."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(raw)

    def stop_reading(self) -> None:
        """Let what the client sends pile up on its side."""
        assert self._transport is not None
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
        self._transport.pause_reading()

    def read_on(self) -> None:
        """Read what has piled up."""
        assert self._transport is not None
        self._transport.resume_reading()

    def hang_up(self) -> None:
        """Send what is written, then close the socket."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Write what h2 has ready."""
        ready = self.h2.data_to_send()
        if ready and self._transport is not None and not self._transport.is_closing():
            self._transport.write(ready)

    def _note(self, event: object) -> None:
        if isinstance(event, RequestReceived):
            headers = dict(cast("list[tuple[str, str]]", event.headers))
            self.seen[event.stream_id] = SeenRequest(self.number, event.stream_id, headers)
            self._server.requests.append(self.seen[event.stream_id])
            self._open.add(event.stream_id)
            self.most_open = max(self.most_open, len(self._open))
        elif isinstance(event, DataReceived):
            self.seen[event.stream_id].body += event.data
            if self._server.script.gives_credit:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, PingReceived):
            self.pings += 1
        elif isinstance(event, StreamEnded):
            seen = self.seen[event.stream_id]
            seen.is_whole = True
            seen.is_disclaimed = event.stream_id > self.last_stream_id
            if not seen.is_disclaimed:
                self._server.script.on_request(self, seen)

    def _send_body(self, stream_id: int) -> None:
        while stream_id in self._unsent:
            credit = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            if credit <= 0:
                return
            part, rest = self._unsent[stream_id][:credit], self._unsent[stream_id][credit:]
            self.h2.send_data(stream_id, part, end_stream=not rest)
            self._unsent[stream_id] = rest
            if not rest:
                del self._unsent[stream_id]


def accept(connection: ServerConnection, seen: SeenRequest) -> None:
    """Answer as Apple does when it takes a push."""
    connection.answer(seen.stream_id, 200, apns_id=seen.headers["apns-id"])


def keep_silent(connection: ServerConnection, seen: SeenRequest) -> None:
    """Never answer by itself; the test may."""


@dataclass(slots=True)
class Script:
    """How the server behaves; a test may change it on the way."""

    on_request: Callable[[ServerConnection, SeenRequest], None] = accept
    settings: Mapping[SettingCodes, int] = field(default_factory=dict)
    gives_credit: bool = True
    is_deaf: bool = False
    hangs_up: bool = False


class ScriptedServer:
    """The server: its script, what it has seen, and its connections in order of arrival."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[SeenRequest] = []
        self.connections: list[ServerConnection] = []
        self.client_faults: list[str] = []
        self.url = ""
        self.listening: asyncio.Server | None = None

    def connect(self) -> ServerConnection:
        """Take a new connection."""
        connection = ServerConnection(self, len(self.connections))
        self.connections.append(connection)
        return connection

    def stop_listening(self) -> None:
        """Refuse further connections; those that are there stay."""
        assert self.listening is not None
        self.listening.close()


@asynccontextmanager
async def serve(script: Script, tls: ssl.SSLContext, port: int = 0) -> AsyncIterator[ScriptedServer]:
    """Run the server on a loopback port; the client must not have broken HTTP/2 by the end."""
    server = ScriptedServer(script)
    listening = await asyncio.get_running_loop().create_server(server.connect, "127.0.0.1", port, ssl=tls)
    server.listening = listening
    server.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for connection in server.connections:
            connection.abort()
        await listening.wait_closed()
    assert server.client_faults == []
