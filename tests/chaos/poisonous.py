"""The fleet's Celery app with a transport that cannot bear two device tokens: one makes it raise, one ends its process.

Run by `celery -A tests.chaos.poisonous worker`, in place of `celery -A workers worker`; the environment names the
device tokens in CHAOS_RAISES and CHAOS_KILLS.
"""

from __future__ import annotations

import os
from unittest.mock import patch

from workers.celery import app
from workers.transport.multiplexed import MultiplexedTransport
from workers.transport.port import ApnsAnswer, PushRequest

__all__ = ["app"]

_send = MultiplexedTransport.send


async def _send_or_suffer(transport: MultiplexedTransport, request: PushRequest) -> ApnsAnswer:
    """Send as ever, unless this is one of the two."""
    if request.device_token == os.environ["CHAOS_RAISES"]:
        raise LookupError("a mistake of ours")
    if request.device_token == os.environ["CHAOS_KILLS"]:
        os._exit(70)
    return await _send(transport, request)


patch.object(MultiplexedTransport, "send", _send_or_suffer).start()
