"""Which implementation of the transport a worker uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dispatcher.push_types import Environment
from dispatcher.settings import Settings
from workers.signing import ProviderTokens
from workers.transport.aioapns_adapter import AioapnsTransport
from workers.transport.multiplexed import MultiplexedTransport
from workers.transport.pooled import PooledTransport

#: `[workers] transport` in the configuration file -> what it stands for.
TRANSPORTS: Final[Mapping[str, type[PooledTransport]]] = {
    "multiplexed": MultiplexedTransport,
    "aioapns": AioapnsTransport,
}


def make_transport(
    settings: Settings, *, tokens: ProviderTokens, now: Callable[[], float], dice: Callable[[], float]
) -> PooledTransport:
    """Return the configured transport."""
    return TRANSPORTS[settings.workers.transport](
        endpoints={environment: settings.endpoints.url(environment) for environment in Environment},
        ca_file=settings.endpoints.ca_file,
        max_connections=settings.workers.connections,
        proxy=settings.workers.proxy,
        tokens=tokens,
        now=now,
        dice=dice,
    )
