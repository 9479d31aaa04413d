"""A way to APNs that answers by script, per device token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from workers.transport.port import ApnsAnswer, GateClosedError, PushRequest

ACCEPTED: Final = ApnsAnswer(status=200)
UNREGISTERED: Final = ApnsAnswer(status=410, reason="Unregistered", unregistered_at=1_700_000_000_000)
BUSY: Final = ApnsAnswer(status=503, reason="ServiceUnavailable")


@dataclass(kw_only=True)
class Late:
    """An answer that comes when the test says so.

    Attributes:
        come: Set it to let the answer come.
        answer: What comes.
    """

    come: asyncio.Event = field(default_factory=asyncio.Event)
    answer: ApnsAnswer = ACCEPTED


Reply = ApnsAnswer | Exception | Late


class ScriptedTransport:
    """Implements `port.Transport`: accepts every push whose device token has no script.

    Attributes:
        scripts: Device token -> its replies in order; the last is repeated.
        requests: Every push that left, in order.
        streams_free: While it is not set, pushes wait for a stream.
        waiting: How many wait for a stream.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, list[Reply]] = {}
        self.requests: list[PushRequest] = []
        self.streams_free = asyncio.Event()
        self.streams_free.set()
        self.waiting = 0

    def script(self, device_tokens: Iterable[str], *replies: Reply) -> None:
        """Say what these devices' pushes are answered, one reply per push."""
        self.scripts.update({device_token: list(replies) for device_token in device_tokens})

    async def send(self, request: PushRequest) -> ApnsAnswer:
        """Open a stream when one is free, and answer by script; see `port.Transport.send`.

        Raises:
            GateClosedError: `may_open` said no.
            TransportError: The script says so, as any other error in it.
        """
        self.waiting += 1
        try:
            await self.streams_free.wait()
        finally:
            self.waiting -= 1
        if not request.may_open():
            raise GateClosedError
        self.requests.append(request)
        reply = self._reply(request.device_token)
        if isinstance(reply, Late):
            await reply.come.wait()
            return reply.answer
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def close(self) -> None:
        """Forget the scripts."""
        self.scripts.clear()

    @property
    def apns_ids(self) -> list[str]:
        """The apns ids of the pushes that left, in order."""
        return [request.apns_id for request in self.requests]

    def _reply(self, device_token: str) -> Reply:
        replies = self.scripts.get(device_token, [ACCEPTED])
        return replies.pop(0) if len(replies) > 1 else replies[0]
