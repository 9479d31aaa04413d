"""The transport on aioapns: a connection pool per environment and signing key, each connection over verified TLS.

What aioapns cannot do safely, and what was replaced, stands in `aioapns_connection`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dispatcher.errors import SettingsError, TransportError
from dispatcher.extras import needs_extra
from dispatcher.push_types import Environment
from workers.transport.connections import ConnectionPool, PoolSettings
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.member import ConnectionInfo, Listener, ProviderTokenSource
from workers.transport.port import ApnsAnswer, PushRequest

with needs_extra("workers", part="the aioapns transport", modules=("aioapns", "h2")):
    from workers.transport.aioapns_connection import ApnsConnection

#: From looking up the host to the end of the TLS handshake.
CONNECT_TIMEOUT_S: Final = 10.0

#: How long one address of a host may take before the next is tried beside it (RFC 8305 section 8).
NEXT_ADDRESS_S: Final = 0.25

#: How long the peer may take to close TLS.
TLS_GOODBYE_S: Final = 2.0

_DEFAULT_PORT: Final = 443
_ALPN: Final = "h2"


class AioapnsTransport:
    """Implements `port.Transport`; one per worker process, made and used on its event loop.

    Never writes a provider token, a device token or a payload to a log.
    """

    def __init__(
        self,
        *,
        endpoints: Mapping[Environment, str],
        ca_file: Path | None,
        max_connections: int,
        tokens: ProviderTokenSource,
        now: Callable[[], float],
        dice: Callable[[], float] = random.random,
        times: KeepaliveTimes | None = None,
    ) -> None:
        """Prepare TLS; connections are opened when the first push needs them.

        Args:
            endpoints: Where each environment is: https URLs.
            ca_file: Certificates to trust besides the system's, for a stand-in.
            max_connections: Most connections per environment and key.
            tokens: Where provider tokens come from.
            now: Unix seconds of the state server's clock; may jump.
            dice: Draws from 0 up to 1.
            times: When quiet connections are asked for a sign of life.

        Raises:
            SettingsError: `ca_file` cannot be read.
        """
        logging.getLogger("aioapns").setLevel(logging.WARNING)
        self._endpoints = endpoints
        self._max_connections = max_connections
        self._tokens = tokens
        self._now = now
        self._dice = dice
        self._times = times or KeepaliveTimes()
        self._tls = _make_tls(ca_file)
        self._pools: dict[tuple[Environment, str], ConnectionPool] = {}
        self._is_closed = False

    async def send(self, request: PushRequest) -> ApnsAnswer:
        """Send one push and return what APNs answered; see `port.Transport.send`.

        Raises:
            GateClosedError: `may_open` said no; nothing was sent.
            TransportError: No answer; `maybe_sent` tells whether APNs may have it.
            SigningError: There is no provider token for the key; nothing was sent.
        """
        if self._is_closed:
            raise TransportError("the transport is closed", maybe_sent=False)
        answered: asyncio.Future[ApnsAnswer] = asyncio.get_running_loop().create_future()
        self._pool(request.environment, request.key_id).submit(request, answered)
        return await answered

    def connections(self) -> list[ConnectionInfo]:
        """Describe every connection, retired ones included."""
        return [info for pool in self._pools.values() for info in pool.infos()]

    async def close(self) -> None:
        """Close every connection; pushes in flight end with TransportError."""
        self._is_closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _pool(self, environment: Environment, key_id: str) -> ConnectionPool:
        pool = self._pools.get((environment, key_id))
        if pool is None:
            pool = self._pools[environment, key_id] = ConnectionPool(
                PoolSettings(
                    environment=environment,
                    key_id=key_id,
                    max_connections=self._max_connections,
                    connect=partial(self._connect, self._endpoints[environment]),
                    tokens=self._tokens,
                    now=self._now,
                    dice=self._dice,
                )
            )
        return pool

    async def _connect(self, url: str, listener: Listener) -> ApnsConnection:
        endpoint = urlsplit(url)
        host, port = endpoint.hostname or "", endpoint.port or _DEFAULT_PORT
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, connection = await asyncio.get_running_loop().create_connection(
                    lambda: ApnsConnection(endpoint.netloc, listener, self._times),
                    host,
                    port,
                    ssl=self._tls,
                    ssl_shutdown_timeout=TLS_GOODBYE_S,
                    happy_eyeballs_delay=NEXT_ADDRESS_S,
                )
        except OSError as exc:
            raise TransportError(f"cannot connect to {host}:{port}: {_describe(exc)}", maybe_sent=False) from exc
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != _ALPN:
            transport.abort()
            raise TransportError(f"{host}:{port} does not speak HTTP/2 (ALPN)", maybe_sent=False)
        return connection


def _make_tls(ca_file: Path | None) -> ssl.SSLContext:
    # Apple's own advice is not to pin: its root changed in 2021 and 2025.
    context = ssl.create_default_context()
    context.set_alpn_protocols([_ALPN])
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as exc:
            raise SettingsError([f"[endpoints] ca_file {ca_file}: {_describe(exc)}"]) from exc
    return context


def _describe(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
    return error.strerror or str(error) or type(error).__name__
