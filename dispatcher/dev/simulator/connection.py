"""One client's connection: asyncio outside, HTTP/2 inside, an exchange for each request, faults where they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.case import Credentials
from dispatcher.dev.simulator.client_certificates import read_client_certificate
from dispatcher.dev.simulator.exchange import Exchange, Reply
from dispatcher.dev.simulator.fault_rules import Faults
from dispatcher.dev.simulator.faults import NO_FAULT, ConnectFault, Fault, Goaway, HangUp
from dispatcher.dev.simulator.http2 import HIGHEST_STREAM_ID, Http2Session
from dispatcher.dev.simulator.http2_setup import options_of
from dispatcher.dev.simulator.provider_tokens import TokenHistory
from dispatcher.dev.simulator.request import Request
from dispatcher.dev.simulator.settings import IdleManner

#: Between the two steps of a graceful goodbye.
SECOND_STEP_AFTER_S: Final = 0.05
_BAD_ENVIRONMENT: Final = b'{"reason":"BadCertificateEnvironment"}'
_IDLE_TIMEOUT: Final = b'{"reason":"IdleTimeout"}'
_AS_USUAL: Final = ConnectFault()


class ApnsConnection(asyncio.Protocol):
    """Speaks with one client until it leaves.

    Args:
        number: Tells connections apart, from 1.
        history_of: Gives the provider tokens to remember for a client address.
        on_made: Called once when TLS is agreed upon.
        on_lost: Called once when the connection is gone.
        fault: What is wrong with the connection from its start.

    Attributes:
        number: Tells connections apart.
        gone: Done when the connection is gone.
        client_port: The client's port, once connected.
    """

    def __init__(
        self,
        *,
        number: int,
        exchange: Exchange,
        faults: Faults,
        history_of: Callable[[str], TokenHistory],
        on_made: Callable[[ApnsConnection], None],
        on_lost: Callable[[ApnsConnection], None],
        fault: ConnectFault | None = None,
    ) -> None:
        self.number = number
        self._exchange = exchange
        self._faults = faults
        self._fault = fault or _AS_USUAL
        self._settings = exchange.shared.settings
        self._switches = exchange.switches
        self._history_of = history_of
        self._on_made = on_made
        self._on_lost = on_lost
        self._max_streams = self._fault.max_streams
        self._read_pause_s = self._fault.read_pause_s
        self._held: list[tuple[int, Reply, Fault]] = []
        self._refusals = 0
        self._bad_device_tokens = 0
        self._is_deaf = False
        self._is_flush_due = False
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our SETTINGS."""
        self._transport = cast("asyncio.Transport", transport)
        address, self.client_port = transport.get_extra_info("peername")[:2]
        certificate = read_client_certificate(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        self._credentials = Credentials(history=self._history_of(address), certificate=certificate)
        self._credentials.last_request_at = self._exchange.clock() if self._settings.idle_limit_s else None
        self._session = Http2Session(options_of(self._settings, self._fault, self._stream_limit()))
        self._switches.hold.subscribe(self.number, self._release_held)
        self._on_made(self)
        if certificate is not None and not certificate.works_in(self._settings.environment):
            self._session.go_away(0, debug=_BAD_ENVIRONMENT)
        if self._fault.goaway is not None:
            self._go_away(self._fault.goaway, 0)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Judge every request that is whole now."""
        if self._is_deaf:
            return
        for stream_id, request in self._session.receive(data):
            if self._session.is_left_out(stream_id):
                continue  # it came together with one that made us say goodbye
            fault = self._faults.of_request(request)
            if fault is None:
                self._answer(stream_id, request, NO_FAULT)
            else:
                self._misbehave(stream_id, request, fault)
        self._flush_soon()
        if self._read_pause_s:
            self._pause_reading(self._read_pause_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the client."""
        self._held.clear()
        self._switches.hold.unsubscribe(self.number)
        self._on_lost(self)
        self.gone.set_result(None)

    def close(self, goaway: Goaway | None = None) -> None:
        """Say goodbye, answer what has come, and end the connection."""
        self._go_away(goaway or Goaway(), self._session.newest_stream_id)
        self._flush()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def return_windows(self, *, returns: bool) -> None:
        """Give credit for payloads from now on, and that which was withheld; or give none."""
        self._session.returns_window = returns
        self._flush()

    def end_if_idle(self, now: float) -> None:
        """End the connection, in the manner of the settings, when its last request was too long ago."""
        last_request_at = self._credentials.last_request_at
        if last_request_at is None or now - last_request_at <= self._settings.idle_limit_s:
            return
        self._credentials.last_request_at = None
        if self._settings.idle_manner is IdleManner.GOAWAY:
            self.close(Goaway(debug=_IDLE_TIMEOUT))
        elif self._settings.idle_manner is IdleManner.CLOSE:
            self.abort()
        else:
            # What a firewall on the way does: whatever comes is lost, and nobody says so.
            self._is_deaf = True

    def _answer(self, stream_id: int, request: Request, fault: Fault) -> None:
        reply = self._exchange.reply(request, self._credentials, connection=self.number, fault=fault)
        self._session.limit_streams(self._stream_limit(reply.answer))
        if self._switches.swallow or reply.answer.is_silent or fault.is_silent:
            self._session.silence(stream_id)
        elif fault.reset is not None:
            self._session.reset(stream_id, fault.reset)
        else:
            self._delay(stream_id, reply, fault)
        if not reply.answer.is_accepted:
            self._spend(reply.answer)

    def _misbehave(self, stream_id: int, request: Request, fault: Fault) -> None:
        if fault.max_streams is not None:
            self._max_streams = fault.max_streams
        if fault.withholds_window:
            self._session.returns_window = False
        if fault.read_pause_s:
            self._pause_reading(fault.read_pause_s)
        if fault.is_processed:
            self._answer(stream_id, request, fault)
        elif fault.reset is not None:
            self._session.reset(stream_id, fault.reset)
        else:
            self._session.silence(stream_id)
        if fault.goaway is not None:
            self._go_away(fault.goaway, stream_id)
        if fault.hang_up is not None:
            self._hang_up(fault.hang_up)

    def _go_away(self, goaway: Goaway, stream_id: int) -> None:
        if goaway.is_two_step:
            self._session.go_away(HIGHEST_STREAM_ID, closes=False)
            self._loop.call_later(SECOND_STEP_AFTER_S, self._second_step, goaway)
        else:
            last = goaway.last_of(stream_id)
            self._session.go_away(last, error_code=goaway.error_code, debug=goaway.debug, closes=goaway.closes)

    def _second_step(self, goaway: Goaway) -> None:
        self._go_away(replace(goaway, is_two_step=False), self._session.newest_stream_id)
        self._flush()

    def _hang_up(self, hang_up: HangUp) -> None:
        ready = self._session.bytes_to_send() if hang_up is not HangUp.BEFORE else b""
        self._transport.write(ready[: len(ready) // 2] if hang_up is HangUp.HALFWAY else ready)
        self._transport.abort()

    def _pause_reading(self, pause_s: float) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_later(pause_s, self._resume_reading)

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _spend(self, answer: Answer) -> None:
        """Count a refusal, and end a connection that had too many of them."""
        self._refusals += answer.is_senders_fault
        self._bad_device_tokens += answer.reason == "BadDeviceToken"
        settings = self._settings
        if (
            self._refusals > settings.refusals_allowed > 0
            or self._bad_device_tokens > settings.bad_device_tokens_allowed > 0
        ):
            self.close(Goaway(debug=answer.body))

    def _stream_limit(self, answer: Answer | None = None) -> int:
        if self._max_streams is not None:
            return self._max_streams
        is_reduced = answer is not None and answer.is_senders_fault and self._settings.reduce_streams_on_refusal
        may_push = self._credentials.may_push and not is_reduced
        return self._settings.full_streams if may_push else self._settings.initial_streams

    def _delay(self, stream_id: int, reply: Reply, fault: Fault) -> None:
        delay_s = self._switches.draw_latency() + fault.delay_s
        if delay_s > 0:
            self._loop.call_later(delay_s, self._send, stream_id, reply, fault)
        else:
            self._send(stream_id, reply, fault)

    def _send(self, stream_id: int, reply: Reply, fault: Fault) -> None:
        if self._switches.hold.is_set():
            self._held.append((stream_id, reply, fault))
            return
        self._session.reply(
            stream_id, reply.headers, reply.body, pieces=fault.pieces, ends_separately=fault.ends_separately
        )
        self._flush_soon()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for stream_id, reply, fault in held:
            self._send(stream_id, reply, fault)

    def _flush_soon(self) -> None:
        # One write, and so one TLS record, for all answers of a turn of the loop.
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._transport.is_closing():
            return
        ready = self._session.bytes_to_send()
        if ready and not self._is_deaf:
            self._transport.write(ready)
        if self._session.is_over:
            self._transport.close()
