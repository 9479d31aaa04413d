"""One connection to APNs on our own wire: pushes and time on the one side, HTTP/2 on the other.

    pool -> open_stream -> wire -> one write per turn of the loop
    one read -> wire -> events -> answers, hand-backs, room -> pool

Every push ends in one of four ways. Answered: its status has arrived, whatever became of the body. Handed back: APNs
certainly has not processed it (above GOAWAY's stream, REFUSED_STREAM, or the connection was lost before the socket was
given all of it). TransportError, not sent: at its deadline the socket had not been given all of it. TransportError,
maybe sent: APNs was sent all of it and said nothing, or reset it.

Source: RFC 9113 sections 5.1, 6.8, 8.7; "Handling notification responses from APNs".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from dispatcher.errors import TransportError
from workers.transport.answers import read_goaway_reason
from workers.transport.channel_socket import ChannelSocket
from workers.transport.connection_port import Listener, Push, Unfit
from workers.transport.deadlines import Deadlines
from workers.transport.in_flight import InFlight
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.request_headers import wire_request
from workers.transport.wire.errors import CannotOpenStreamError
from workers.transport.wire.events import Answered, Event, GoingAway, HeadersReceived, StreamReset
from workers.transport.wire.frames import LAST_STREAM_ID, ErrorCode


class Channel(ChannelSocket):
    """Pushes on the streams of one connection; implements `connection_port.Connection`.

    Never sends a push a second time. One missed deadline is forgiven if APNs then answers a PING, a second one without
    an answer between them is not; neighbours keep waiting for their answers.
    """

    def __init__(self, authority: str, listener: Listener, times: KeepaliveTimes, *, now: Callable[[], float]) -> None:
        """Prepare; asyncio calls `connection_made`.

        Args:
            authority: Host, and port if it is not 443, as APNs is reached.
            listener: Hears what happens.
            times: When to ask for signs of life.
            now: Unix seconds.
        """
        super().__init__(authority, times)
        self._listener = listener
        self._in_flight = InFlight(now)
        self._pushes = self._in_flight.pushes
        self._deadlines = Deadlines(self.loop, self._pushes, self._miss_deadline)
        self._is_draining = False
        self._may_miss = False
        self._blocked_stream_id = 0  # the one push whose payload waits for credit; none follows it until it has left

    # -- what the pool asks

    @property
    def in_flight(self) -> int:
        """Return how many streams are open."""
        return len(self._pushes)

    @property
    def stream_limit(self) -> int:
        """Return how many streams APNs allows at present."""
        return self.wire.stream_limit

    @property
    def has_room(self) -> bool:
        """Tell whether a stream can be opened and its payload handed over now."""
        return (
            self.is_open
            and self.is_writable
            and not self._blocked_stream_id
            and self.keepalive.is_trusted
            and self.wire.room > 0
        )

    def open_stream(self, push: Push, authorization: str) -> None:
        """Send a push with this turn of the loop; its deadline starts now."""
        try:
            stream_id = self.wire.send_request(wire_request(push.request, authorization=authorization))
        except (CannotOpenStreamError, UnicodeError) as exc:
            push.fail(TransportError(f"cannot be written: {type(exc).__name__}", maybe_sent=False))
            return
        self._pushes[stream_id] = push
        self.newest_stream_id = stream_id
        if not self.is_flush_due:
            self.flush_soon()
        self.keepalive.pushed_at = self.turn_at
        self._deadlines.add(stream_id, self.turn_at + push.request.deadline_s)
        if self.wire.unsent_bytes(stream_id):
            self._blocked_stream_id = stream_id
        if stream_id >= LAST_STREAM_ID:
            self._listener.on_unfit(self, Unfit.USED_UP)

    def ask(self) -> None:
        """Ask for a sign of life when the connection has been quiet for long."""
        if self.is_open and not self.keepalive.is_trusted:
            self.keepalive.ask()

    def drain(self) -> None:
        """Close after the last answer or deadline."""
        self._is_draining = True
        self._close_if_drained()

    # -- what APNs says

    def on_events(self, events: Sequence[Event]) -> None:
        """Take answers and endings."""
        for event in events:
            if type(event) is Answered:
                self._may_miss = True
                answer = self._in_flight.take_answer(event)
                if answer is not None:
                    self._listener.on_answer(self, answer)
            elif (handler := _HANDLERS.get(type(event))) is not None:
                handler(self, event)

    def on_read(self) -> None:
        """Let the pool use the streams and the credit that became free."""
        if self._blocked_stream_id and not self.wire.unsent_bytes(self._blocked_stream_id):
            self._blocked_stream_id = 0
        self._listener.on_room()
        self._close_if_drained()

    def _note_status(self, event: HeadersReceived) -> None:
        self._in_flight.note_status(event)

    def _take_reset(self, event: StreamReset) -> None:
        cause = f"stream reset: {_name(event.error_code)}"
        if event.error_code == ErrorCode.REFUSED_STREAM and event.stream_id in self._pushes:
            if self.in_flight <= self.wire.stream_limit:
                # Far from the limit it means that the connection is worn out.
                self._listener.on_unfit(self, Unfit.REFUSING)
            self._hand_back([event.stream_id], cause)
        else:
            self._fail(event.stream_id, cause, maybe_sent=self._is_written(event.stream_id))

    def _go_away(self, event: GoingAway) -> None:
        reason = read_goaway_reason(event.debug_data) or _name(event.error_code)
        self._listener.on_unfit(self, Unfit.GOAWAY, reason)
        disclaimed = [stream_id for stream_id in self._pushes if stream_id > event.last_stream_id]
        self._hand_back(disclaimed, f"GOAWAY {reason}")

    # -- what becomes of the connection

    def on_broken(self, cause: str) -> None:
        """Leave the pool."""
        self._listener.on_unfit(self, Unfit.BROKEN, cause)

    def on_idle(self) -> None:
        """Leave the pool when nobody has used the connection for long."""
        self._listener.on_unfit(self, Unfit.IDLE)

    def on_silent(self) -> None:
        """Give up a connection that does not answer a PING; what is in flight has until its deadline."""
        self._listener.on_unfit(self, Unfit.SILENT)
        if not self._pushes:
            self.abort()

    def on_gone(self, cause: str) -> None:
        """End every push: what was written whole may have been sent, the rest goes elsewhere."""
        self._deadlines.stop()
        self._listener.on_lost(self, cause)
        cause = f"connection lost: {cause}"
        self._hand_back([stream_id for stream_id in self._pushes if not self._is_written(stream_id)], cause)
        for stream_id in list(self._pushes):
            self._fail(stream_id, cause, maybe_sent=True)

    def _close_if_drained(self) -> None:
        if self._is_draining and not self._pushes:
            self.close()

    # -- what becomes of a push

    def _hand_back(self, stream_ids: Sequence[int], cause: str) -> None:
        """Give pushes that APNs has not processed to the pool; one with a status has its answer."""
        pushes = self._in_flight.take_back(stream_ids)
        for stream_id in stream_ids:
            self._fail(stream_id, cause, maybe_sent=False)
        if pushes:
            self._listener.on_handed_back(self, pushes, cause)

    def _fail(self, stream_id: int, cause: str, *, maybe_sent: bool) -> None:
        if stream_id == self._blocked_stream_id:
            self._blocked_stream_id = 0
        answer = self._in_flight.fail(stream_id, cause, maybe_sent=maybe_sent)
        if answer is not None:
            self._listener.on_answer(self, answer)

    def _miss_deadline(self, stream_id: int) -> None:
        is_written = self._is_written(stream_id)
        # Frees the stream, and makes sure that an incomplete request stays unsent.
        self.wire.reset_stream(stream_id, ErrorCode.CANCEL)
        self.flush()
        if self._may_miss and self.is_open:
            self._may_miss = False
            self.keepalive.ask()
        else:
            self._listener.on_unfit(self, Unfit.DEADLINE)
        self._fail(stream_id, "no answer within the deadline", maybe_sent=is_written)
        self._close_if_drained()

    def _is_written(self, stream_id: int) -> bool:
        """Tell whether the socket was given all of a request; APNs cannot process one whose end it has not."""
        return stream_id <= self.written_stream_id and stream_id != self._blocked_stream_id


def _name(error_code: int) -> str:
    return ErrorCode(error_code).name if error_code in _ERROR_CODES else str(error_code)


_ERROR_CODES: Final = frozenset(ErrorCode)

_HANDLERS: Final[dict[type, Callable[[Channel, Any], None]]] = {
    HeadersReceived: Channel._note_status,  # noqa: SLF001
    StreamReset: Channel._take_reset,  # noqa: SLF001
    GoingAway: Channel._go_away,  # noqa: SLF001
}
