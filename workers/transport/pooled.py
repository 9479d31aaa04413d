"""What every transport on connection pools shares: which pool a push belongs to, how its connections are opened."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from dispatcher.errors import TransportError
from dispatcher.push_types import Environment
from workers.transport.connection_port import Connection, Listener, Push
from workers.transport.connections import ConnectionPool
from workers.transport.dialling import Dialler
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.member import ConnectionInfo, ProviderTokenSource
from workers.transport.pool_settings import PoolSettings
from workers.transport.port import STATUS_ACCEPTED, ApnsAnswer, PushRequest
from workers.transport.tls import make_tls


class PooledTransport(ABC):
    """Implements `port.Transport` but for the connections; one per worker process, made and used on its event loop.

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
        proxy: str | None = None,
        times: KeepaliveTimes | None = None,
    ) -> None:
        """Prepare TLS; connections are opened when the first push needs them.

        Args:
            endpoints: Where each environment is: https URLs.
            ca_file: The only authority to trust, for a stand-in; None for the system's and Apple's.
            max_connections: Most connections per environment and key.
            tokens: Where provider tokens come from.
            now: Unix seconds of the state server's clock; may jump.
            dice: Draws from 0 up to 1.
            proxy: `http://HOST:PORT` to connect through.
            times: When quiet connections are asked for a sign of life.

        Raises:
            SettingsError: `ca_file` cannot be read.
        """
        self.now = now
        self.times = times or KeepaliveTimes()
        self.dialler = Dialler(tls=make_tls(ca_file), proxy=proxy)
        self._endpoints = endpoints
        self._max_connections = max_connections
        self._tokens = tokens
        self._dice = dice
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
        pool = self._pools.get((request.environment, request.key_id)) or self._make_pool(request)
        push = Push(request, asyncio.get_running_loop().create_future())
        pool.submit(push)
        try:
            answer = await push.answered
        except TransportError as exc:
            exc.carried_by = push.carried_by
            raise
        return answer if answer.status == STATUS_ACCEPTED else replace(answer, carried_by=push.carried_by)

    def connections(self) -> list[ConnectionInfo]:
        """Describe every connection, retired ones included."""
        return [info for pool in self._pools.values() for info in pool.infos()]

    def drain(self, key_id: str) -> None:
        """Let the connections of a signing key end after their last answers: it was changed or is used no more."""
        for (_, pool_key_id), pool in self._pools.items():
            if pool_key_id == key_id:
                pool.drain()

    async def close(self) -> None:
        """Close every connection; pushes in flight end with TransportError."""
        self._is_closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    @abstractmethod
    async def connect(self, url: str, listener: Listener) -> Connection:
        """Open a connection that reports to a listener.

        Raises:
            TransportError: There is none.
        """
        ...

    def _make_pool(self, request: PushRequest) -> ConnectionPool:
        pool = self._pools[request.environment, request.key_id] = ConnectionPool(
            PoolSettings(
                environment=request.environment,
                key_id=request.key_id,
                max_connections=self._max_connections,
                connect=partial(self.connect, self._endpoints[request.environment]),
                tokens=self._tokens,
                now=self.now,
                dice=self._dice,
            )
        )
        return pool
