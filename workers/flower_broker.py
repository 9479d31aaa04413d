"""Let Flower read the lengths of queues as its own user where the broker is a socket.

Flower 2.2 logs in there with the password alone, which is the default user's; over a network it gives the user, too.
"""

from __future__ import annotations

import sys
from typing import Any, Final

_MODULE: Final = "flower.utils.broker"


def install() -> None:
    """Take the place of Flower's own reader, where Flower is loaded: Celery does that before it loads an app."""
    flower_broker: Any = sys.modules.get(_MODULE)
    if flower_broker is not None:
        flower_broker.RedisSocket = _with_user(flower_broker.RedisSocket)


def _with_user(reader: Any) -> Any:
    class RedisSocket(reader):  # type: ignore[misc]
        """Flower's reader of a broker on a socket."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.redis.connection_pool.connection_kwargs["username"] = self.username or None

    return RedisSocket
