"""Which implementation of the transport a worker uses."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.push_types import Environment
from dispatcher.settings import Settings
from workers.signing import ProviderTokens
from workers.transport.aioapns_adapter import AioapnsTransport
from workers.transport.port import Transport


def make_transport(
    settings: Settings, *, tokens: ProviderTokens, now: Callable[[], float], dice: Callable[[], float]
) -> Transport:
    """Return the configured transport."""
    return AioapnsTransport(
        endpoints={environment: settings.endpoints.url(environment) for environment in Environment},
        ca_file=settings.endpoints.ca_file,
        max_connections=settings.workers.connections,
        tokens=tokens,
        now=now,
        dice=dice,
    )
