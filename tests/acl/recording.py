"""Write down every command that a server runs, and in which role it was sent.

MONITOR tells from which address a command came, so each role is given a door of its own: a proxy on another address of
the loopback network. What a script calls is told after the script, and belongs to whoever sent that.
"""

from __future__ import annotations

import asyncio
import codecs
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Final, Self
from urllib.parse import urlsplit

from dispatcher.dev.ports import HOST
from dispatcher.dev.users import Role, Users

_ADDRESSES: Final = {role: f"127.0.0.{10 + number}" for number, role in enumerate(Role)}
_ROLES: Final = {address: role for role, address in _ADDRESSES.items()}
_LINE: Final = re.compile(rb"\+[\d.]+ \[\d+ (?P<place>lua|[\d.]+)(?::\d+)?\] (?P<words>.*)")
_WORD: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_CHUNK_BYTES: Final = 65_536

Words = tuple[bytes, ...]


class Doors:
    """A proxy for each role but the administrator; its connections reach the server from the role's own address."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._ports: dict[tuple[int, Role], int] = {}
        self._servers: list[asyncio.Server] = []

    def port(self, server_port: int, role: Role) -> int:
        """Return the port of a role's door to a server; it is opened at the first call."""
        place = (server_port, role)
        if place not in self._ports:
            self._ports[place] = asyncio.run_coroutine_threadsafe(self._open(*place), self._loop).result(timeout=10)
        return self._ports[place]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, server_port: int, role: Role) -> int:
        async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream = await asyncio.open_connection(HOST, server_port, local_addr=(_ADDRESSES[role], 0))
            await asyncio.gather(_pass_on(reader, upstream[1]), _pass_on(upstream[0], writer))

        door = await asyncio.start_server(visit, HOST, 0)
        self._servers.append(door)
        port: int = door.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        for door in self._servers:
            door.close()
        visits = asyncio.all_tasks() - {asyncio.current_task()}
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersByDoor(Users):
    """Users who each come through their own door.

    Attributes:
        doors: Theirs.
    """

    doors: Doors

    def url(self, server_url: str, role: Role) -> str:
        """Return the address of a role's door; the administrator has none."""
        if role is not Role.ADMIN:
            port = urlsplit(server_url).port or 0
            server_url = server_url.replace(f":{port}/", f":{self.doors.port(port, role)}/")
        return Users.url(self, server_url, role)


class Recorder:
    """Listens to MONITOR until it is stopped."""

    def __init__(self, url: str) -> None:
        """Begin to listen to a server, as its administrator."""
        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname or "", place.port or 0))
        self._socket.sendall(f"AUTH {place.username} {place.password}\r\nMONITOR\r\n".encode())
        self._lines: list[bytes] = []
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def sent(self) -> list[tuple[Role, Words]]:
        """Return every command so far, with the role that sent it."""
        return list(_told(self._lines))

    def stop(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        with self._socket.makefile("rb") as lines:
            self._lines.extend(lines)


def _told(lines: Iterable[bytes]) -> Iterator[tuple[Role, Words]]:
    last = Role.ADMIN
    for line in lines:
        if (found := _LINE.match(line)) is None:
            continue
        if found["place"] != b"lua":
            last = _ROLES.get(found["place"].decode(), Role.ADMIN)
        yield last, _words(found["words"])


def _words(quoted: bytes) -> Words:
    return tuple(codecs.escape_decode(word)[0] for word in _WORD.findall(quoted))
