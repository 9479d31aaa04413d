"""The pushes on the streams of a channel, and how each ends: once, answered, handed back or in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from dispatcher.errors import TransportError
from workers.transport.answers import read_answer
from workers.transport.connection_port import Push
from workers.transport.port import STATUS_ACCEPTED, ApnsAnswer
from workers.transport.wire.events import Answered, HeadersReceived

_ACCEPTED: Final = ApnsAnswer(status=STATUS_ACCEPTED)


class InFlight:
    """Pushes by stream, with the statuses of those whose answer has begun.

    Attributes:
        pushes: Those that have not ended, in the order they were opened.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.pushes: Final[dict[int, Push]] = {}
        self._statuses: dict[int, int] = {}
        self._now = now

    def take_answer(self, event: Answered) -> ApnsAnswer | None:
        """End a push with its whole answer; None when it has ended before."""
        push = self.pushes.pop(event.stream_id, None)
        if push is None:
            return None
        self._statuses.pop(event.stream_id, None)
        if event.status == STATUS_ACCEPTED:
            answer = _ACCEPTED
        else:
            retry_after = event.headers.get(b"retry-after", b"").decode("latin-1")
            answer = read_answer(status=event.status, retry_after=retry_after, body=event.body, now=self._now())
        push.succeed(answer)
        return answer

    def note_status(self, event: HeadersReceived) -> None:
        """Keep the status of an answer that has begun."""
        if event.stream_id in self.pushes:
            self._statuses[event.stream_id] = event.status

    def fail(self, stream_id: int, cause: str, *, maybe_sent: bool) -> ApnsAnswer | None:
        """End a push without a whole answer: a status alone is one, too."""
        push = self.pushes.pop(stream_id, None)
        if push is None:
            return None
        status = self._statuses.pop(stream_id, None)
        if status is None:
            push.fail(TransportError(cause, maybe_sent=maybe_sent))
            return None
        answer = ApnsAnswer(status=status)
        push.succeed(answer)
        return answer

    def take_back(self, stream_ids: Iterable[int]) -> list[Push]:
        """Remove and return the pushes whose answer has not begun, for sending them elsewhere."""
        unanswered = [stream_id for stream_id in stream_ids if stream_id not in self._statuses]
        return [self.pushes.pop(stream_id) for stream_id in unanswered if stream_id in self.pushes]
