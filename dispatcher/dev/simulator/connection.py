"""One client's connection: asyncio outside, HTTP/2 inside, an exchange for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.case import Credentials
from dispatcher.dev.simulator.exchange import Exchange, Reply
from dispatcher.dev.simulator.http2 import Http2Session
from dispatcher.dev.simulator.provider_tokens import TokenHistory

GOODBYE: Final = b'{"reason":"Shutdown"}'

NumberedReply = tuple[int, Reply]


class ApnsConnection(asyncio.Protocol):
    """Speaks with one client until it leaves.

    Args:
        number: Tells connections apart, from 1.
        history_of: Gives the provider tokens to remember for a client address.
        on_made: Called once when TLS is agreed upon.
        on_lost: Called once when the connection is gone.

    Attributes:
        gone: Done when the connection is gone.
    """

    def __init__(
        self,
        *,
        number: int,
        exchange: Exchange,
        history_of: Callable[[str], TokenHistory],
        on_made: Callable[[ApnsConnection], None],
        on_lost: Callable[[ApnsConnection], None],
    ) -> None:
        self.number = number
        self._exchange = exchange
        self._settings = exchange.shared.settings
        self._switches = exchange.switches
        self._history_of = history_of
        self._on_made = on_made
        self._on_lost = on_lost
        self._session = Http2Session(max_streams=self._settings.initial_streams)
        self._held: list[NumberedReply] = []
        self._is_flush_due = False
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our SETTINGS."""
        self._transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")[0]
        self._credentials = Credentials(history=self._history_of(address))
        self._switches.hold.subscribe(self.number, self._release_held)
        self._on_made(self)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Judge every request that is whole now."""
        for stream_id, request in self._session.receive(data):
            reply = self._exchange.reply(request, self._credentials, connection=self.number)
            self._session.limit_streams(self._stream_limit(reply.answer))
            if not self._switches.swallow and not reply.answer.is_silent:
                self._delay((stream_id, reply))
        self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the client."""
        self._held.clear()
        self._switches.hold.unsubscribe(self.number)
        self._on_lost(self)
        self.gone.set_result(None)

    def close(self) -> None:
        """Say goodbye and end the connection."""
        self._session.say_goodbye(GOODBYE)
        self._flush()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _stream_limit(self, answer: Answer) -> int:
        is_reduced = answer.is_senders_fault and self._settings.reduce_streams_on_refusal
        has_pushed = self._credentials.first_key is not None and not self._credentials.is_wedged
        return self._settings.full_streams if has_pushed and not is_reduced else self._settings.initial_streams

    def _delay(self, numbered_reply: NumberedReply) -> None:
        if self._switches.latency_s > 0:
            self._loop.call_later(self._switches.latency_s, self._send, numbered_reply)
        else:
            self._send(numbered_reply)

    def _send(self, numbered_reply: NumberedReply) -> None:
        if self._switches.hold.is_set():
            self._held.append(numbered_reply)
            return
        stream_id, reply = numbered_reply
        self._session.reply(stream_id, reply.headers, reply.body)
        self._flush_soon()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for numbered_reply in held:
            self._send(numbered_reply)

    def _flush_soon(self) -> None:
        # One write, and so one TLS record, for all answers of a turn of the loop.
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        ready = self._session.bytes_to_send()
        if ready:
            self._transport.write(ready)
        if self._session.is_over:
            self._transport.close()
