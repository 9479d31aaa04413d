"""One connection of a pool: what it carries, how far it is trusted, and which provider token it shows.

The pool decides, the connection moves bytes: `Connection` is all the pool needs of one, `Listener` all a connection
tells. Neither knows aioapns.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from dispatcher.push_types import Environment
from workers.provider_token import ProviderToken, TokenStep, decide_step
from workers.reasons import Verdict
from workers.transport.port import ApnsAnswer, PushRequest

#: The future a push ends with; nobody but its caller cancels it.
Answered = asyncio.Future[ApnsAnswer]

#: Verdicts that show Apple is content with the connection.
FRUITFUL: Final = frozenset({Verdict.ACCEPTED, Verdict.DEVICE_GONE})

#: Verdicts that leave open whether Apple accepts the key and its provider token.
UNPROVING: Final = frozenset({Verdict.CONFIGURATION, Verdict.STALE_CREDENTIAL, Verdict.TOKEN_CHURN})

#: Verdicts after which the connection answers nothing else, or is about to be closed.
SPOILING: Final = frozenset({Verdict.STALE_CREDENTIAL, Verdict.SERVER_LEAVING})


class Unfit(StrEnum):
    """Why a connection takes no more pushes."""

    DEADLINE = "deadline_missed"
    SILENT = "ping_unanswered"
    GOAWAY = "goaway"
    REFUSING = "refuses_streams"
    BROKEN = "cannot_open_streams"
    SPOILT = "answer"
    USED_UP = "stream_ids_used_up"
    IDLE = "idle"
    TOKEN_CHANGE = "token_change"  # noqa: S105  a cause, not a secret


#: Causes that say nothing against connecting again at once.
BLAMELESS: Final = frozenset({Unfit.USED_UP, Unfit.IDLE, Unfit.TOKEN_CHANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """A connection as metrics and tests see it.

    Attributes:
        environment: Which of Apple's hosts.
        key_id: The signing key of its pool.
        opened_at: Unix seconds of the state server's clock.
        provider_token_issued_at: `iat` of the token it carries; None before its first push.
        in_flight: Pushes sent and not answered.
        retired: It takes no new pushes and closes after its last answer.
    """

    environment: Environment
    key_id: str
    opened_at: float
    provider_token_issued_at: int | None
    in_flight: int
    retired: bool


class ProviderTokenSource(Protocol):
    """Where provider tokens come from."""

    def current(self, key_id: str, now: float) -> ProviderToken:
        """Return the token in use at `now`, Unix seconds of the state server's clock.

        Raises:
            SigningError: There is no such key, or it cannot sign.
        """
        ...


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

    def open_stream(self, request: PushRequest, authorization: str, answered: Answered) -> None:
        """Send a push; `answered` gets the answer or a TransportError, within the request's deadline."""
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

    def on_lost(self, connection: Connection, cause: str) -> None:
        """Hear that the socket is gone; always the last word."""
        ...


class Member:
    """A connection in its pool.

    Attributes:
        opened_at: Unix seconds of the state server's clock.
        is_proven: Apple has accepted the provider token of this connection.
        is_fruitful: Apple has taken a push on it.
        is_retired: It takes no new pushes.
    """

    def __init__(self, connection: Connection, *, opened_at: float, dice: float) -> None:
        self.opened_at = opened_at
        self.is_proven = False
        self.is_fruitful = False
        self.is_retired = False
        self._connection = connection
        self._dice = dice
        self._token: ProviderToken | None = None
        self._carried_since = 0.0

    @property
    def in_flight(self) -> int:
        """Return how many pushes wait for their answer."""
        return self._connection.in_flight

    @property
    def has_room(self) -> bool:
        """Tell whether a push may go now: the first of a connection goes alone, Apple's rule for an unproven token."""
        return self._connection.has_room and (self.is_proven or not self._connection.in_flight)

    @property
    def is_full(self) -> bool:
        """Tell whether another connection would help; one that Apple slows down to a single stream is left alone."""
        return self.is_proven and self._connection.stream_limit > 1 and not self._connection.has_room

    def renew_token(self, source: ProviderTokenSource, key_id: str, now: float) -> bool:
        """Show the token in use at `now`; False when the connection must be replaced instead."""
        if self._token is not None:
            step = decide_step(
                carried_issued_at=self._token.issued_at, carried_since=self._carried_since, now=now, dice=self._dice
            )
            if step is not TokenStep.CHANGE:
                return step is TokenStep.KEEP
        self._token = source.current(key_id, now)
        self._carried_since = now
        return True

    def open_stream(self, request: PushRequest, answered: Answered) -> None:
        """Send a push under the token that `renew_token` chose."""
        if self._token is None:  # pragma: no cover  a bug
            raise AssertionError("renew_token was not asked")
        self._connection.open_stream(request, "bearer " + self._token.jwt, answered)

    def note(self, verdict: Verdict) -> None:
        """Learn from an answer how far the connection may be trusted."""
        self.is_proven = self.is_proven or verdict not in UNPROVING
        self.is_fruitful = self.is_fruitful or verdict in FRUITFUL

    def retire(self) -> None:
        """Take no more pushes; what is in flight may still be answered."""
        self.is_retired = True
        self._connection.drain()

    async def close(self) -> None:
        """Close the connection and wait, briefly, for its end."""
        self.is_retired = True
        await self._connection.shut_down()

    def info(self, environment: Environment, key_id: str) -> ConnectionInfo:
        """Describe the connection."""
        return ConnectionInfo(
            environment=environment,
            key_id=key_id,
            opened_at=self.opened_at,
            provider_token_issued_at=None if self._token is None else self._token.issued_at,
            in_flight=self.in_flight,
            retired=self.is_retired,
        )
