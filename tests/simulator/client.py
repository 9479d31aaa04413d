"""A blocking HTTP/2 client of the tests' own."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection

TIMEOUT_S = 10.0
PAUSE_S = 0.05


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
        source: Address to come from; empty for any.
        certificate: Shown to the server, with its key beside it; None for none.
    """

    def __init__(
        self,
        port: int,
        ca_file: Path,
        *,
        acknowledges: bool = True,
        source: str = "",
        certificate: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        if certificate is not None:
            context.load_cert_chain(certificate, certificate.with_name(f"{certificate.stem}-key.pem"))
        plain = socket.create_connection(("127.0.0.1", port), timeout=timeout_s, source_address=(source, 0))
        try:
            self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        except OSError:
            plain.close()
            raise
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.replies: dict[int, Reply] = {}
        self.goodbye: bytes | None = None
        self.goaways: list[events.ConnectionTerminated] = []
        self.sizes: dict[int, list[int]] = {}
        self.is_closed = False
        self.received = 0
        self.pongs: list[bytes] = []
        self._acknowledges = acknowledges
        try:
            self.flush()
        except OSError:
            self.socket.close()
            raise

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

    def open(self, headers: list[tuple[str, str]]) -> int:
        """Begin a request whose body the caller sends piece by piece; return its stream id."""
        stream_id = self.http2.get_next_available_stream_id()
        self.replies[stream_id] = Reply()
        self.http2.send_headers(stream_id, headers)
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
        self.received += len(received)
        for event in self.http2.receive_data(received):
            self._on_event(event)
        self.flush()

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived():
                self.replies[event.stream_id].headers = {str(name): str(value) for name, value in event.headers}
            case events.DataReceived():
                self.sizes.setdefault(event.stream_id, []).append(len(event.data))
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
                self.goaways.append(event)
                # h2 takes nothing more after a GOAWAY; a client that waits for the streams it lets through does.
                self.http2.state_machine.state = ConnectionState.CLIENT_OPEN
            case events.PingAckReceived():
                self.pongs.append(event.ping_data)
            case _:
                return
