"""The socket side of a channel: one write per turn of the loop, pauses, signs of life, and the end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, cast

from workers.transport.answers import MAX_BODY_BYTES
from workers.transport.keepalive import Keepalive, KeepaliveTimes
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.events import Event

#: How long a goodbye may take before the socket is dropped.
GOODBYE_S: Final = 1.0

#: RFC 9113 section 5.1.1; a client's streams have odd numbers.
FIRST_STREAM_ID: Final = 1

_PING: Final = b"are you?"


class ChannelSocket(asyncio.Protocol, ABC):
    """Moves bytes between asyncio and the wire, and says what happens to the socket.

    Attributes:
        loop: Its event loop.
        wire: The HTTP/2 side.
        keepalive: Whether the connection is alive, as far as is known.
        is_open: The socket takes what is written.
        is_writable: APNs reads what is written.
        newest_stream_id: The stream opened last.
        written_stream_id: The newest stream that the socket was given.
        turn_at: When the present turn of the loop first had something to write, on the loop's clock.
    """

    def __init__(self, authority: str, times: KeepaliveTimes) -> None:
        self.loop = asyncio.get_running_loop()
        self.wire = WireConnection(authority=authority, max_body_bytes=MAX_BODY_BYTES, first_stream_id=FIRST_STREAM_ID)
        self.keepalive = Keepalive(self.loop, times, ping=self._ping, on_idle=self.on_idle, on_silent=self.on_silent)
        self.is_open = False
        self.is_writable = True
        self.is_flush_due = False
        self.newest_stream_id = 0
        self.written_stream_id = 0
        self.turn_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[None] = self.loop.create_future()

    @property
    def is_lost(self) -> bool:
        """Tell whether the socket is gone."""
        return self._lost.done()

    # -- what the channel does with it

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop: one write for all that is sent in it."""
        if not self.is_flush_due:
            self.is_flush_due = True
            self.turn_at = self.loop.time()
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is ready."""
        self.is_flush_due = False
        ready = self.wire.data_to_send()
        if ready and self._transport is not None and self.is_open:
            self.written_stream_id = self.newest_stream_id
            self._transport.write(ready)

    def close(self) -> None:
        """Say goodbye and close."""
        if self._transport is not None and self.is_open:
            self.wire.go_away()
            self.flush()
            self.is_open = False
            self._transport.close()

    def abort(self) -> None:
        """Drop the socket."""
        self.is_open = False
        if self._transport is not None and not self.is_lost:
            self._transport.abort()

    async def shut_down(self) -> None:
        """Say goodbye and wait, briefly, until the socket is closed; streams in flight end with TransportError."""
        self.close()
        await asyncio.wait([self._lost], timeout=GOODBYE_S)
        self.abort()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Read what APNs sent; what precedes a fault counts."""
        self.keepalive.hear()
        try:
            events = self.wire.receive_data(data)
        except ProtocolError as exc:
            self.on_events(exc.events)
            self.wire.go_away(exc.error_code)
            self.flush()
            self.is_open = False
            self.on_broken(str(exc))
            self.abort()
            return
        self.on_events(events)
        self.on_read()
        self.flush_soon()

    def pause_writing(self) -> None:
        """Hold back pushes while APNs does not read."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Let pushes go again."""
        self.is_writable = True
        self.on_read()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the socket is gone, and why."""
        self.is_open = False
        self.keepalive.stop()
        self._lost.set_result(None)
        self.on_gone(str(exc) if exc else "closed")

    def _ping(self) -> None:
        self.wire.ping(_PING)
        self.flush()

    # -- what the channel hears

    @abstractmethod
    def on_events(self, events: Sequence[Event]) -> None:
        """Hear what APNs said."""

    @abstractmethod
    def on_read(self) -> None:
        """Hear that a read is done with, or that writing goes on after a pause."""

    @abstractmethod
    def on_broken(self, cause: str) -> None:
        """Hear that APNs broke HTTP/2; the socket is dropped next."""

    @abstractmethod
    def on_gone(self, cause: str) -> None:
        """Hear that the socket is gone."""

    @abstractmethod
    def on_idle(self) -> None:
        """Hear that nobody has sent a push for long."""

    @abstractmethod
    def on_silent(self) -> None:
        """Hear that a PING was not answered."""
