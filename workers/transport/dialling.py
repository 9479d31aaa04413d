"""Open a verified TLS connection to APNs, directly or through a proxy, with names looked up afresh.

Source: "Communicating with APNs": look the host up before each connection; RFC 8305 (several addresses).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

from dispatcher.errors import TransportError
from workers.transport.proxy import open_tunnel
from workers.transport.tls import ALPN, describe

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

#: From looking up the host to the end of the TLS handshake.
CONNECT_TIMEOUT_S: Final = 10.0

#: How long one address of a host may take before the next is tried beside it (RFC 8305 section 8).
NEXT_ADDRESS_S: Final = 0.25

#: How long the peer may take to close TLS.
TLS_GOODBYE_S: Final = 2.0

_DEFAULT_PORT: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialler:
    """Opens connections.

    Attributes:
        tls: The client's side of TLS.
        proxy: `http://HOST:PORT` of a proxy all connections go through; None for none.
    """

    tls: ssl.SSLContext
    proxy: str | None = None

    async def dial(self, url: str, make_protocol: Callable[[], ProtocolT]) -> ProtocolT:
        """Return a protocol on an open connection that speaks HTTP/2.

        Raises:
            TransportError: There is none within `CONNECT_TIMEOUT_S`; nothing was sent.
        """
        endpoint = urlsplit(url)
        host, port = endpoint.hostname or "", endpoint.port or _DEFAULT_PORT
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if self.proxy is None:
                    transport, protocol = await self._dial_directly(host, port, make_protocol)
                else:
                    transport, protocol = await self._dial_through(self.proxy, host, port, make_protocol)
        except TimeoutError as exc:
            cause = f"no connection within {CONNECT_TIMEOUT_S:g} s"
            raise TransportError(f"cannot connect to {host}:{port}: {cause}", maybe_sent=False) from exc
        except OSError as exc:
            raise TransportError(f"cannot connect to {host}:{port}: {describe(exc)}", maybe_sent=False) from exc
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != ALPN:
            transport.abort()
            raise TransportError(f"{host}:{port} does not speak HTTP/2 (ALPN)", maybe_sent=False)
        return protocol

    async def _dial_directly(
        self, host: str, port: int, make_protocol: Callable[[], ProtocolT]
    ) -> tuple[asyncio.Transport, ProtocolT]:
        return await asyncio.get_running_loop().create_connection(
            make_protocol,
            host,
            port,
            ssl=self.tls,
            ssl_shutdown_timeout=TLS_GOODBYE_S,
            happy_eyeballs_delay=NEXT_ADDRESS_S,
        )

    async def _dial_through(
        self, proxy: str, host: str, port: int, make_protocol: Callable[[], ProtocolT]
    ) -> tuple[asyncio.Transport, ProtocolT]:
        tunnel = await open_tunnel(proxy, host, port, next_address_s=NEXT_ADDRESS_S)
        keeper = _Keeper()
        transport = await asyncio.get_running_loop().start_tls(
            tunnel, keeper, self.tls, server_hostname=host, ssl_shutdown_timeout=TLS_GOODBYE_S
        )
        if transport is None:
            raise ConnectionError("the tunnel was closed")
        protocol = make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        keeper.hand_over(protocol)
        return transport, protocol


class _Keeper(asyncio.Protocol):
    """Keeps what the server says between the end of the handshake and the moment somebody listens."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._is_lost = False
        self._cause: Exception | None = None

    def data_received(self, data: bytes) -> None:
        """Keep bytes."""
        self._received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep the end."""
        self._is_lost, self._cause = True, exc

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Tell a protocol what it has missed."""
        for received in self._received:
            protocol.data_received(received)
        if self._is_lost:
            protocol.connection_lost(self._cause)
