"""The transport on our own wire: the default. Its connections are `channel.Channel`."""

from __future__ import annotations

from urllib.parse import urlsplit

from workers.transport.channel import Channel
from workers.transport.connection_port import Listener
from workers.transport.pooled import PooledTransport


class MultiplexedTransport(PooledTransport):
    """Implements `port.Transport`."""

    async def connect(self, url: str, listener: Listener) -> Channel:
        """Open a channel."""
        authority = urlsplit(url).netloc
        return await self.dialler.dial(url, lambda: Channel(authority, listener, self.times, now=self.now))
