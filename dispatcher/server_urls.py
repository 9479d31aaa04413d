"""Addresses that name several servers: `scheme://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?QUERY`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

#: Special characters in a password are what most often makes an address unreadable; it is never quoted.
UNREADABLE: Final = "has no readable host and port; special characters in a password are written %2F, %40 ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersUrl:
    """The parts of such an address, escaped as they were.

    Attributes:
        hosts: `HOST:PORT` of each.
        credentials: `USER:PASSWORD@`, or empty.
        path: With its slash, or empty.
        query: Name -> value.
    """

    hosts: tuple[str, ...]
    credentials: str
    path: str
    query: dict[str, str]

    @classmethod
    def parse(cls, url: str, *, default_port: int) -> Self:
        """Take an address apart.

        Raises:
            ValueError: It cannot be understood. Never shows the address: it may hold a password.
        """
        _scheme, _, rest = url.partition("://")
        place, _, query = rest.partition("?")
        credentials, at, servers = place.rpartition("@")
        hosts, slash, path = servers.partition("/")
        if "/" in credentials or "#" in credentials:
            raise ValueError(UNREADABLE)
        return cls(
            hosts=tuple(_with_port(host, default_port) for host in hosts.split(",")),
            credentials=credentials + at,
            path=slash + path,
            query=dict(_pair(pair) for pair in query.split("&") if pair),
        )

    def server(self, scheme: str, host: str, *, query: Mapping[str, str]) -> str:
        """Return the address of one server, given as `HOST:PORT`."""
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{scheme}://{self.credentials}{host}{self.path}{'?' if words else ''}{words}"


def host_and_port(host: str, port: int) -> str:
    """Return how a server is written in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _with_port(host: str, default_port: int) -> str:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError as exc:
        raise ValueError(UNREADABLE) from exc
    if not parts.hostname:
        raise ValueError(UNREADABLE)
    return host_and_port(parts.hostname, port or default_port)


def _pair(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    return name, value
