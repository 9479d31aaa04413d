"""The pushes in flight on one connection, by stream, and what has arrived of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from dispatcher.errors import TransportError
from workers.transport.answers import MAX_BODY_BYTES, read_answer
from workers.transport.connection_port import Push
from workers.transport.port import ApnsAnswer


class OpenPush:
    """A push on its stream.

    Attributes:
        unsent: What of its payload waits for credit; None once APNs has been sent all of it.
    """

    __slots__ = ("body", "deadline", "push", "retry_after", "status", "unsent")

    def __init__(self, push: Push, deadline: asyncio.TimerHandle) -> None:
        self.unsent: bytes | None = push.request.payload
        self.push: Final = push
        self.deadline: Final = deadline
        self.status: int | None = None
        self.retry_after = ""
        self.body = b""


class OpenPushes:
    """Every push opened and not ended; each ends once, and its caller may have left before."""

    def __init__(self) -> None:
        self._by_stream: dict[int, OpenPush] = {}

    def __len__(self) -> int:
        return len(self._by_stream)

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._by_stream

    def __getitem__(self, stream_id: int) -> OpenPush:
        return self._by_stream[stream_id]

    def add(self, stream_id: int, push: OpenPush) -> None:
        """Keep a push until it ends."""
        self._by_stream[stream_id] = push

    def after(self, last_stream_id: int) -> list[int]:
        """Return the streams above a number, or all above 0."""
        return [stream_id for stream_id in self._by_stream if stream_id > last_stream_id]

    def note_response(self, stream_id: int, headers: dict[bytes, bytes]) -> None:
        """Keep what the response headers say."""
        push = self._by_stream.get(stream_id)
        if push is not None:
            status = headers.get(b":status", b"")
            push.status = int(status) if status.isdigit() else None
            push.retry_after = headers.get(b"retry-after", b"").decode("ascii", "replace")

    def note_body(self, stream_id: int, part: bytes) -> None:
        """Keep a piece of the response body, within reason."""
        push = self._by_stream.get(stream_id)
        if push is not None and len(push.body) < MAX_BODY_BYTES:
            push.body += part

    def take_back(self, stream_ids: Sequence[int]) -> list[Push]:
        """Remove and return the pushes that have no status yet, for sending them elsewhere."""
        back = [self._by_stream.pop(stream_id) for stream_id in stream_ids if self._by_stream[stream_id].status is None]
        for push in back:
            push.deadline.cancel()
        return [push.push for push in back]

    def end(self, stream_id: int, cause: str, *, maybe_sent: bool, now: float) -> ApnsAnswer | None:
        """End a push, with its answer once the status is known, whatever became of the body.

        Args:
            stream_id: Where it is; a stream not kept is ignored.
            cause: Why there is no answer, if there is none.
            maybe_sent: Whether APNs may have processed it, provided it was sent whole.
            now: Unix seconds.
        """
        push = self._by_stream.pop(stream_id, None)
        if push is None:
            return None
        push.deadline.cancel()
        if push.status is None:
            # APNs cannot process a request whose end it has not been sent.
            push.push.fail(TransportError(cause, maybe_sent=maybe_sent and push.unsent is None))
            return None
        answer = read_answer(status=push.status, retry_after=push.retry_after, body=push.body, now=now)
        push.push.succeed(answer)
        return answer
