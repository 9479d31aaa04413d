"""The socket side of a connection to APNs on aioapns 4.0: writing, credit, signs of life, and the end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from aioapns.connection import APNsTLSClientProtocol

from workers.transport.keepalive import Keepalive, KeepaliveTimes
from workers.transport.mended_h2 import MendedH2Connection

#: How long a goodbye may take before the socket is dropped.
GOODBYE_S: Final = 1.0

_PING: Final = b"are you?"


class ApnsWire(APNsTLSClientProtocol, ABC):
    """aioapns' protocol, made to stay open, to write in bunches and to say when it is gone."""

    def __init__(self, times: KeepaliveTimes) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(apns_topic="", loop=loop)
        self.conn: MendedH2Connection = MendedH2Connection()
        self.is_writable = True
        self.keepalive = Keepalive(loop, times, ping=self._ping, on_idle=self.on_idle, on_silent=self.on_silent)
        self._is_flush_due = False
        self._lost: asyncio.Future[None] = loop.create_future()

    # -- what is known of the socket

    @property
    def is_lost(self) -> bool:
        """Tell whether the socket is gone."""
        return self._lost.done()

    @property
    def is_open(self) -> bool:
        """Tell whether the socket takes what is written."""
        return self.transport is not None and not self.transport.is_closing()

    # -- what the connection does with it

    def flush(self) -> None:
        """Write what is ready."""
        self._is_flush_due = False
        if self.transport is not None and self.is_open and (ready := self.conn.data_to_send()):
            self.transport.write(ready)

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop: one write for all pushes opened in it."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self.loop.call_soon(self.flush)

    def send_part(self, stream_id: int, payload: bytes) -> bytes | None:
        """Hand over as much of a payload as APNs gives credit for; return the rest, None when nothing is left."""
        while True:
            credit = min(self.conn.local_flow_control_window(stream_id), self.conn.max_outbound_frame_size)
            if credit <= 0 and payload:
                return payload
            part, payload = payload[:credit], payload[credit:]
            self.conn.send_data(stream_id, part, end_stream=not payload)
            if not payload:
                return None

    def close(self) -> None:
        """Say goodbye and close."""
        if self.transport is not None and self.is_open:
            self.conn.close_connection()
            self.flush()
            self.transport.close()

    def abort(self) -> None:
        """Drop the socket."""
        if self.transport is not None and not self.is_lost:
            self.transport.abort()

    async def shut_down(self) -> None:
        """Say goodbye and wait, briefly, until the socket is closed; streams in flight end with TransportError."""
        self.close()
        await asyncio.wait([self._lost], timeout=GOODBYE_S)
        self.abort()

    # -- what asyncio and aioapns call

    def data_received(self, data: bytes) -> None:
        """Read what APNs sent."""
        self.keepalive.hear()
        if self._is_flush_due:
            self.flush()  # h2 drops what is unsent when it reads a GOAWAY
        self.on_read(data)
        self.flush()

    def pause_writing(self) -> None:
        """Hold back pushes while APNs does not read."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Let pushes go again."""
        self.is_writable = True
        self.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the socket is gone, and why."""
        super().connection_lost(exc)
        self.keepalive.stop()
        self._lost.set_result(None)
        self.on_gone(str(exc) if exc else "closed")

    def refresh_inactivity_timer(self) -> None:
        """Do nothing: aioapns would close after ten quiet seconds; `Keepalive` rules instead."""

    def _ping(self) -> None:
        self.conn.ping(_PING)
        self.flush()

    # -- what the connection hears

    @abstractmethod
    def on_read(self, raw: bytes) -> None:
        """Hear bytes."""

    @abstractmethod
    def on_writable(self) -> None:
        """Hear that writing goes on after a pause."""

    @abstractmethod
    def on_gone(self, cause: str) -> None:
        """Hear that the socket is gone."""

    @abstractmethod
    def on_idle(self) -> None:
        """Hear that nobody has sent a push for long."""

    @abstractmethod
    def on_silent(self) -> None:
        """Hear that a PING was not answered."""
