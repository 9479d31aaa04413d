"""What a pool wants of a connection, whatever moves its bytes, and what a connection tells its pool.

The pool decides, the connection moves bytes: `Connection` is all the pool needs of one, `Listener` all a connection
tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

from workers.transport.port import ApnsAnswer, PushRequest


class Push:
    """One push on its way, from the moment it is asked for to its end.

    Attributes:
        request: What to send.
        answered: What it ends with; nobody but its caller cancels it.
        tries: On how many streams it has been.
        carried_by: Number of the connection that it went over last; None before.
    """

    __slots__ = ("answered", "carried_by", "request", "tries")

    def __init__(self, request: PushRequest, answered: asyncio.Future[ApnsAnswer]) -> None:
        self.request: Final = request
        self.answered: Final = answered
        self.tries = 0
        self.carried_by: int | None = None

    def succeed(self, answer: ApnsAnswer) -> None:
        """End with Apple's answer, unless the caller has left."""
        if not self.answered.done():
            self.answered.set_result(answer)

    def fail(self, error: Exception) -> None:
        """End with an error, unless the caller has left."""
        if not self.answered.done():
            self.answered.set_exception(error)


class Unfit(StrEnum):
    """Why a connection takes no more pushes."""

    DEADLINE = "deadline_missed"
    SILENT = "ping_unanswered"
    GOAWAY = "goaway"
    REFUSING = "refuses_streams"
    BROKEN = "cannot_open_streams"
    SPOILT = "answer"
    FAULTY = "server_fault"
    USED_UP = "stream_ids_used_up"
    IDLE = "idle"
    TOKEN_CHANGE = "token_change"  # noqa: S105  a cause, not a secret


class Connection(Protocol):
    """One HTTP/2 connection to APNs, open once it exists; moves bytes and decides nothing."""

    @property
    def is_lost(self) -> bool:
        """Tell whether the socket is gone."""
        ...

    @property
    def in_flight(self) -> int:
        """Return how many streams are open."""
        ...

    @property
    def stream_limit(self) -> int:
        """Return how many streams APNs allows at present."""
        ...

    @property
    def has_room(self) -> bool:
        """Tell whether a stream can be opened and its payload handed over now."""
        ...

    def open_stream(self, push: Push, authorization: str) -> None:
        """Send a push; it gets the answer or a TransportError within its deadline, unless it is handed back before."""
        ...

    def ask(self) -> None:
        """Ask for a sign of life, if that is what keeps the connection from having room."""
        ...

    def drain(self) -> None:
        """Close after the last answer or deadline; the caller opens no more streams."""
        ...

    async def shut_down(self) -> None:
        """Say goodbye and wait, briefly, until the socket is closed; streams in flight end with TransportError."""
        ...


class Listener(Protocol):
    """Whom a connection tells what happens to it."""

    def on_answer(self, connection: Connection, answer: ApnsAnswer) -> None:
        """Hear Apple's answer to one push."""
        ...

    def on_room(self) -> None:
        """Hear that streams may have become free."""
        ...

    def on_unfit(self, connection: Connection, cause: Unfit, detail: str = "") -> None:
        """Hear that no more pushes should go this way."""
        ...

    def on_handed_back(self, connection: Connection, pushes: Sequence[Push], cause: str) -> None:
        """Get back pushes that APNs certainly has not processed."""
        ...

    def on_lost(self, connection: Connection, cause: str) -> None:
        """Hear that the socket is gone; only pushes handed back may follow."""
        ...
