"""The transport on aioapns: its protocol class below our pools.

What aioapns cannot do safely, and what was replaced, stands in `aioapns_connection`.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from dispatcher.extras import needs_extra
from workers.transport.connection_port import Listener
from workers.transport.pooled import PooledTransport

with needs_extra("workers", part="the aioapns transport", modules=("aioapns", "h2")):
    from workers.transport.aioapns_connection import ApnsConnection


class AioapnsTransport(PooledTransport):
    """Implements `port.Transport`."""

    def __init__(self, **options: Any) -> None:
        """Silence aioapns, whose log lines hold device tokens; the options are those of `PooledTransport`."""
        logging.getLogger("aioapns").setLevel(logging.WARNING)
        super().__init__(**options)

    async def connect(self, url: str, listener: Listener) -> ApnsConnection:
        """Open a connection on aioapns' protocol class."""
        authority = urlsplit(url).netloc
        return await self.dialler.dial(url, lambda: ApnsConnection(authority, listener, self.times, now=self.now))
