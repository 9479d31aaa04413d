"""The door: a port that clients connect to, each let in, reset or kept waiting as the greeting says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from dispatcher.dev.ports import HOST
from dispatcher.dev.simulator.faults import ConnectFault, Door, TlsFault

_BACKLOG: Final = 1024
#: Longer than a simulator waits for goodbyes, so that a connection ends by our own hand.
_TLS_GOODBYE_S: Final = 5.0
#: Close with a reset, not with a goodbye.
_LINGER_NOT: Final = struct.pack("ii", 1, 0)

Greet = Callable[[str], ConnectFault | None]
MakeProtocol = Callable[[ConnectFault | None], asyncio.Protocol]


class Listener:
    """Listens on a port of this machine, may stop, and listen again on the same one.

    Args:
        port: 0 for a free one.
        greet: Says what is wrong with a connection from an address.
        make_protocol: Speaks with a client once TLS is agreed upon.
        open_context: Returns the server's side of TLS for a fault of it.
    """

    def __init__(
        self,
        port: int,
        *,
        greet: Greet,
        make_protocol: MakeProtocol,
        open_context: Callable[[TlsFault | None], ssl.SSLContext],
    ) -> None:
        self.port = port
        self._greet = greet
        self._make_protocol = make_protocol
        self._open_context = open_context
        self._contexts: dict[TlsFault | None, ssl.SSLContext] = {}
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._arriving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
        """
        self._context_of(None)
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)  # noqa: FBT003 (the only way to say it)
            listener.bind((HOST, self.port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._socket = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def close(self) -> None:
        """Refuse whoever connects from now on; who is at the door already comes in."""
        if self._accepting is not None:
            await _cancel({self._accepting})
            self._accepting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def cut_off(self) -> None:
        """Send away who is at the door and not in yet."""
        await _cancel(self._arriving)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, address = await loop.sock_accept(listener)
            task = loop.create_task(self._let_in(client, self._greet(address[0])))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _let_in(self, client: socket.socket, fault: ConnectFault | None) -> None:
        door = fault.door if fault else None
        if door is None:
            # A handshake that fails is the client's affair: it knows more than we do.
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    partial(self._make_protocol, fault),
                    client,
                    ssl=self._context_of(fault.tls if fault else None),
                    ssl_shutdown_timeout=_TLS_GOODBYE_S,
                )
            return
        with client:
            if door is Door.SILENT:
                await asyncio.Event().wait()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)

    def _context_of(self, fault: TlsFault | None) -> ssl.SSLContext:
        if fault not in self._contexts:
            self._contexts[fault] = self._open_context(fault)
        return self._contexts[fault]


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
