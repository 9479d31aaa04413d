"""A TCP proxy that can be a bad network: slow, silent, torn, or gone. Plain asyncio, in a thread of its own.

    with Proxy("127.0.0.1", server_port) as proxy:
        ...  # clients use proxy.port
        proxy.set(Network(hold=frozenset(Direction)))  # a black hole, for old and new connections
        proxy.set(Network())  # and well again: what was held arrives, as TCP would send it again

A black hole takes connections, as the listening kernel does, and then lets nothing through.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"
#: Nothing to wait for: closing such a socket sends RST, with whatever was unsent thrown away.
_RESET_AT_CLOSE: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"
_CHUNK_BYTES: Final = 65_536


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


BLACK_HOLE: Final = frozenset(Direction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the network is; by default well.

    Attributes:
        latency_s: How long each piece takes, each way.
        jitter_s: How much longer or shorter at most; pieces never overtake each other.
        piece_bytes: Pieces are cut to this size; 0 for as they come.
        hold: In these directions nothing arrives until that is over.
        is_refusing: New connections are refused, and those there are reset.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    piece_bytes: int = 0
    hold: frozenset[Direction] = frozenset()
    is_refusing: bool = False


class Proxy:
    """Stands between clients and one server.

    Args:
        host: Of the server.
        port: Of the server; `target` moves it.
        seed: Of the dice for jitter.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._target = (host, port)
        self._dice = random.Random(seed)  # noqa: S311  (dice, no secrets)
        self._network = Network()
        self._pipes: set[_Pipe] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._trap: Callable[[Direction, bytes], bool] | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run_loop, name=f"proxy to {port}", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def network(self) -> Network:
        """How the network is now."""
        return self._network

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._pipes)

    @property
    def client_ports(self) -> dict[int, int]:
        """The client's port of each connection that is there, by the port that the server sees."""
        return {pipe.port_at(1): pipe.port_at(0) for pipe in tuple(self._pipes) if len(pipe.writers) > 1}

    def set(self, network: Network) -> None:
        """Let the network be so from now on, for old and new connections."""
        self._do(self._set(network))

    def target(self, host: str, port: int) -> None:
        """Lead new connections to another server."""
        self._target = (host, port)

    def reset_all(self) -> None:
        """Tear every connection, as RST does."""
        self._do(self._reset_all())

    def hold_once(self, is_sign: Callable[[Direction, bytes], bool]) -> threading.Event:
        """Hold everything on its way to the server as soon as a piece is the sign; that piece itself still arrives.

        Returns:
            Set when it has happened.
        """
        sprung = threading.Event()

        def trap(direction: Direction, piece: bytes) -> bool:
            if not is_sign(direction, piece):
                return False
            self._network = Network(hold=frozenset({Direction.TO_SERVER}))
            sprung.set()
            return True

        self._trap = trap
        return sprung

    async def _listen(self) -> None:
        # The same port again after a time of refusing: clients know no other.
        self._server = await asyncio.start_server(self._accept, HOST, self.port, limit=_CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, network: Network) -> None:
        was_refusing, self._network = self._network.is_refusing, network
        self._changed.set()
        self._changed = asyncio.Event()
        if network.is_refusing and self._server is not None:
            self._server.close()
            self._server = None
            await self._reset_all()
        elif was_refusing and not network.is_refusing:
            await self._listen()

    async def _reset_all(self) -> None:
        for pipe in tuple(self._pipes):
            pipe.reset()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._reset_all()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would complain loudly of being cancelled.
        task = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = _Pipe(writer)
        self._pipes.add(pipe)
        try:
            await self._pass(Direction.TO_SERVER, b"")  # a black hole answers no handshake either
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=_CHUNK_BYTES)
            pipe.writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(Direction.TO_SERVER, reader, far_writer))
                group.create_task(self._carry(Direction.TO_CLIENT, far_reader, writer))
        except* OSError:
            pipe.reset()
        finally:
            self._pipes.discard(pipe)
            pipe.close()

    async def _carry(self, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry bytes until the source ends, then tell the sink so."""
        while chunk := await source.read(_CHUNK_BYTES):
            size = self._network.piece_bytes or len(chunk)
            for start in range(0, len(chunk), size):
                await self._deliver(direction, chunk[start : start + size], sink)
        await self._pass(direction, b"")
        if sink.can_write_eof():
            sink.write_eof()

    async def _deliver(self, direction: Direction, piece: bytes, sink: asyncio.StreamWriter) -> None:
        await self._pass(direction, piece)
        if self._trap and self._trap(direction, piece):
            self._trap = None
        sink.write(piece)
        await sink.drain()

    async def _pass(self, direction: Direction, piece: bytes) -> None:
        """Wait as long as a piece is on its way."""
        network = self._network
        if piece and (network.latency_s or network.jitter_s):
            await asyncio.sleep(max(0.0, network.latency_s + self._dice.uniform(-1, 1) * network.jitter_s))
        while direction in self._network.hold:
            await self._changed.wait()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


class _Pipe:
    """The two sockets of one connection."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]

    def port_at(self, end: int) -> int:
        """Return the port that a client has at one end: 0 at its own, 1 as the server sees it."""
        name = self.writers[end].get_extra_info("peername" if end == 0 else "sockname")
        port: int = name[1]
        return port

    def reset(self) -> None:
        """Tear both."""
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            if raw is not None:  # else it is closed already
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            writer.transport.abort()

    def close(self) -> None:
        """Close both."""
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.close()
