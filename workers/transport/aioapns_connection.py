"""One connection to APNs on aioapns 4.0: what a push is there, and what becomes of it.

Kept of aioapns: its protocol class on asyncio and TLS, its HTTP/2 state (`conn`), start and end of a connection.
Replaced, through its one seam, subclassing: how a push is written and how events are read. Stock aioapns never ends a
push whose stream is reset, whose answer has no body, or whose apns-id comes back in other letters; stops after 65,535
bytes of error bodies; sends expiration 0 as the present second; sends again what Apple may have taken; closes after ten
quiet seconds; and its stream counter sticks at two once Apple has raised the limit. Its connection pool is not used.

What no subclass mends:

* h2 hands over nothing of a read that ends in a protocol error: answers in it are lost, their pushes maybe sent.
* h2 waits for the whole of a frame before it finds it too long: bytes that are no HTTP/2 are noticed at a deadline.
* h2 checks and copies every header several times, so a push costs several times the processor time of our own wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import ChangedSetting, SettingCodes

from dispatcher.errors import TransportError
from workers.transport.aioapns_wire import ApnsWire
from workers.transport.answers import read_goaway_reason
from workers.transport.connection_port import Listener, Push, Unfit
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.open_pushes import OpenPush, OpenPushes
from workers.transport.request_headers import request_headers

#: RFC 9113 section 5.1.1; a client's streams have odd numbers.
LAST_STREAM_ID: Final = 2**31 - 1


class ApnsConnection(ApnsWire):
    """Pushes on the streams of one connection; implements `connection_port.Connection`.

    Answers are matched by stream, never by apns-id. Every push ends within its deadline, whatever APNs does. One missed
    deadline is forgiven if APNs then answers a PING, a second one without an answer between them is not; neighbours
    keep waiting for their answers.

    Attributes:
        stream_limit: How many streams APNs allows at present.
    """

    def __init__(self, authority: str, listener: Listener, times: KeepaliveTimes, *, now: Callable[[], float]) -> None:
        super().__init__(times)
        self.stream_limit = self.conn.remote_settings.max_concurrent_streams
        self._authority = authority
        self._listener = listener
        self._now = now
        self._pushes = OpenPushes()
        self._next_stream_id = 1
        self._blocked_stream_id: int | None = None
        self._may_miss = False
        self._is_draining = False

    # -- what the pool asks

    @property
    def in_flight(self) -> int:
        """Return how many streams are open."""
        return len(self._pushes)

    @property
    def has_room(self) -> bool:
        """Tell whether a stream can be opened and its payload handed over now."""
        return (
            len(self._pushes) < self.stream_limit
            and self.keepalive.is_trusted
            and self.is_writable
            and self._blocked_stream_id is None
            and self.conn.outbound_flow_control_window > 0
            and self.is_open
        )

    def open_stream(self, push: Push, authorization: str) -> None:
        """Send a push; its deadline starts now."""
        stream_id = self._next_stream_id
        headers = request_headers(push.request, authority=self._authority, authorization=authorization)
        try:
            self.conn.send_headers(stream_id, headers)
        except (ProtocolError, UnicodeError) as exc:
            push.fail(TransportError(f"cannot be written: {type(exc).__name__}", maybe_sent=False))
            self._listener.on_unfit(self, Unfit.BROKEN, type(exc).__name__)
            return
        deadline = self.loop.call_later(push.request.deadline_s, self._miss_deadline, stream_id)
        self._pushes.add(stream_id, OpenPush(push, deadline))
        self.keepalive.pushed_at = self.loop.time()
        self._next_stream_id += 2
        self._send_payload(stream_id)
        self.flush_soon()
        if self._next_stream_id > LAST_STREAM_ID:
            self._listener.on_unfit(self, Unfit.USED_UP)

    def ask(self) -> None:
        """Ask for a sign of life when the connection has been quiet for long."""
        if not self.keepalive.is_trusted and self.is_open:
            self.keepalive.ask()

    def drain(self) -> None:
        """Close after the last answer or deadline."""
        self._is_draining = True
        self._close_if_drained()

    # -- what the wire tells

    def on_read(self, raw: bytes) -> None:
        """Read answers, then let the pool use the streams that became free."""
        try:
            events = self.conn.receive_data(raw)
        except ProtocolError as exc:
            self._drop(Unfit.BROKEN, type(exc).__name__)
            return
        for event in events:
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)
        if self._blocked_stream_id is not None:
            self._send_payload(self._blocked_stream_id)
        self._listener.on_room()
        self._close_if_drained()

    def on_writable(self) -> None:
        """Let the pool send again."""
        self._listener.on_room()

    def on_gone(self, cause: str) -> None:
        """End every push: what was opened may have been sent."""
        self._listener.on_lost(self, cause)
        cause = f"connection lost: {cause}"
        self._hand_back(
            [stream_id for stream_id in self._pushes.after(0) if stream_id == self._blocked_stream_id], cause
        )
        for stream_id in self._pushes.after(0):
            self._end(stream_id, cause, maybe_sent=True)

    def on_idle(self) -> None:
        """Leave the pool when nobody has used the connection for long."""
        self._listener.on_unfit(self, Unfit.IDLE)

    def on_silent(self) -> None:
        """Give up a connection that does not answer a PING; what is in flight has until its deadline."""
        self._listener.on_unfit(self, Unfit.SILENT)
        if not self._pushes:
            self.abort()

    # -- what APNs tells

    def on_remote_settings_changed(self, changed_settings: dict[Any, ChangedSetting]) -> None:
        """Take over the number of streams APNs allows."""
        if SettingCodes.MAX_CONCURRENT_STREAMS in changed_settings:
            self.stream_limit = changed_settings[SettingCodes.MAX_CONCURRENT_STREAMS].new_value

    def on_connection_terminated(self, event: ConnectionTerminated) -> None:
        """Hand back at once the pushes a GOAWAY disclaims; the others may still be answered."""
        reason = read_goaway_reason(event.additional_data) or _name(event.error_code)
        self._listener.on_unfit(self, Unfit.GOAWAY, reason)
        disclaimed = self._pushes.after(event.last_stream_id or 0)
        self._hand_back(disclaimed, f"GOAWAY {reason}")
        for stream_id in disclaimed:
            self._end(stream_id, f"GOAWAY {reason}", maybe_sent=False)

    def _on_response(self, event: ResponseReceived) -> None:
        self._pushes.note_response(event.stream_id, dict(event.headers))

    def _on_data(self, event: DataReceived) -> None:
        # Unacknowledged bytes close the window for good: 1,285 answers of 51 bytes.
        self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._pushes.note_body(event.stream_id, event.data)

    def _on_stream_ended(self, event: StreamEnded) -> None:
        self._end(event.stream_id, "unreadable answer", maybe_sent=True)

    def _on_stream_reset(self, event: StreamReset) -> None:
        cause = f"stream reset: {_name(event.error_code)}"
        if event.error_code == ErrorCodes.REFUSED_STREAM and event.stream_id in self._pushes:
            if self.in_flight <= self.stream_limit:
                self._listener.on_unfit(self, Unfit.REFUSING)
            self._hand_back([event.stream_id], cause)
        self._end(event.stream_id, cause, maybe_sent=True)

    # -- endings

    def _end(self, stream_id: int, cause: str, *, maybe_sent: bool) -> None:
        if stream_id == self._blocked_stream_id:
            self._blocked_stream_id = None
        answer = self._pushes.end(stream_id, cause, maybe_sent=maybe_sent, now=self._now())
        if answer is not None:
            self._may_miss = True
            self._listener.on_answer(self, answer)

    def _hand_back(self, stream_ids: Sequence[int], cause: str) -> None:
        if self._blocked_stream_id in stream_ids:
            self._blocked_stream_id = None
        if pushes := self._pushes.take_back(stream_ids):
            self._listener.on_handed_back(self, pushes, cause)

    def _miss_deadline(self, stream_id: int) -> None:
        if self.is_open:
            # Frees the stream, and makes sure that an incomplete request stays unsent.
            with suppress(ProtocolError):
                self.conn.reset_stream(stream_id, ErrorCodes.CANCEL)
            self.flush()
        if self._may_miss and self.is_open:
            self._may_miss = False
            self.keepalive.ask()
        else:
            self._listener.on_unfit(self, Unfit.DEADLINE)
        self._end(stream_id, "no answer within the deadline", maybe_sent=True)
        self._close_if_drained()

    def _drop(self, unfit: Unfit, detail: str = "") -> None:
        self.flush()
        self._listener.on_unfit(self, unfit, detail)
        self.abort()

    def _close_if_drained(self) -> None:
        if self._is_draining and not self._pushes:
            self.close()

    def _send_payload(self, stream_id: int) -> None:
        push = self._pushes[stream_id]
        push.unsent = self.send_part(stream_id, push.unsent or b"")
        self._blocked_stream_id = None if push.unsent is None else stream_id


def _name(error_code: ErrorCodes | int | None) -> str:
    return error_code.name if isinstance(error_code, ErrorCodes) else str(error_code)


_HANDLERS: Final[dict[type, Callable[[ApnsConnection, Any], None]]] = {
    ResponseReceived: ApnsConnection._on_response,  # noqa: SLF001
    DataReceived: ApnsConnection._on_data,  # noqa: SLF001
    StreamEnded: ApnsConnection._on_stream_ended,  # noqa: SLF001
    StreamReset: ApnsConnection._on_stream_reset,  # noqa: SLF001
    ConnectionTerminated: ApnsConnection.on_connection_terminated,
    RemoteSettingsChanged: lambda connection, event: connection.on_remote_settings_changed(event.changed_settings),
}
