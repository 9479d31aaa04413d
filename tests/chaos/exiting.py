"""The fleet's Celery app with a transport that ends its process in the middle of its fifth push.

Run by `celery -A tests.chaos.exiting worker`, in place of `celery -A workers worker`.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Final
from unittest.mock import patch

from workers.celery import app
from workers.transport.multiplexed import MultiplexedTransport
from workers.transport.port import ApnsAnswer, PushRequest

__all__ = ["app"]

LAST_PUSH: Final = 5
EXIT_CODE: Final = 70

_numbers = count(1)
_send = MultiplexedTransport.send


async def _send_or_exit(transport: MultiplexedTransport, request: PushRequest) -> ApnsAnswer:
    """Send as ever; the fifth answer is the last thing this process gets, and it tells nobody."""
    answer = await _send(transport, request)
    if next(_numbers) == LAST_PUSH:
        os._exit(EXIT_CODE)
    return answer


patch.object(MultiplexedTransport, "send", _send_or_exit).start()
