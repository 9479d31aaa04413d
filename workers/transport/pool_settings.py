"""What one pool of connections is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dispatcher.push_types import Environment
from workers.transport.connection_port import Connection, Listener
from workers.transport.member import ProviderTokenSource


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """What one pool is made of.

    Attributes:
        environment: Which of Apple's hosts.
        key_id: The signing key.
        max_connections: Most connections that take pushes; retired ones, closing after their last answer, come on top.
        connect: Opens a connection that reports to a listener; TransportError when it cannot.
        tokens: Where provider tokens come from.
        now: Unix seconds of the state server's clock; may jump.
        dice: Draws from 0 up to 1.
    """

    environment: Environment
    key_id: str
    max_connections: int
    connect: Callable[[Listener], Awaitable[Connection]]
    tokens: ProviderTokenSource
    now: Callable[[], float]
    dice: Callable[[], float]
