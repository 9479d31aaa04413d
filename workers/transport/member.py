"""One connection of a pool: what it carries, how far it is trusted, and which provider token it shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from dispatcher.push_types import Environment
from workers.provider_token import ProviderToken, TokenStep, decide_step, issued_at, window_ends_at
from workers.reasons import Verdict
from workers.transport.connection_port import Connection, Push, Unfit
from workers.transport.port import GateClosedError

#: Verdicts that show Apple is content with the connection.
FRUITFUL: Final = frozenset({Verdict.ACCEPTED, Verdict.DEVICE_GONE})

#: Verdicts that leave open whether Apple accepts the key and its provider token.
UNPROVING: Final = frozenset(
    {Verdict.KEY_REFUSED, Verdict.TOPIC_REFUSED, Verdict.STALE_CREDENTIAL, Verdict.TOKEN_CHURN}
)

#: Verdicts after which the connection answers nothing else, or is about to be closed.
SPOILING: Final = frozenset({Verdict.STALE_CREDENTIAL, Verdict.SERVER_LEAVING})

#: Verdicts that a connection repeats, typically one that was idle for long: the next try goes elsewhere.
FAULTY: Final = frozenset({Verdict.SERVER_FAULT})

#: A connection younger than this that Apple has taken pushes on is not worn out: what failed is a single push.
WORN_AFTER_S: Final = 10.0

#: Causes that say nothing against connecting again at once.
BLAMELESS: Final = frozenset({Unfit.USED_UP, Unfit.IDLE, Unfit.TOKEN_CHANGE, Unfit.FAULTY})

#: Shared by all pools: the second try of a push whose key was changed meanwhile avoids nobody by accident.
_NUMBERS: Final = count(1)


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


class Member:
    """A connection in its pool.

    Attributes:
        number: What it is called in `carried_by` and `avoid`; no other of this process has the same.
        opened_at: Unix seconds of the state server's clock.
        is_proven: Apple has accepted the provider token of this connection.
        is_fruitful: Apple has taken a push on it.
        is_retired: It takes no new pushes.
    """

    def __init__(self, connection: Connection, *, opened_at: float, dice: float) -> None:
        self.number: Final = next(_NUMBERS)
        self.opened_at = opened_at
        self.is_proven = False
        self.is_fruitful = False
        self.is_retired = False
        self._connection = connection
        self._dice = dice
        self._authorization = ""
        self._token: ProviderToken | None = None
        self._carried_since = 0.0
        self._kept_from = self._kept_until = 0.0

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
        """Tell whether streams are the limit, so that another connection would help.

        One that Apple slows down to a single stream is left alone, and so is one that waits for credit or a PING.
        """
        connection = self._connection
        return self.is_proven and connection.in_flight >= connection.stream_limit > 1

    def ask(self) -> None:
        """Ask a quiet connection for a sign of life, so that it has room again."""
        self._connection.ask()

    def renew_token(self, source: ProviderTokenSource, key_id: str, now: float) -> bool:
        """Show the token in use at `now`; False when the connection must be replaced instead."""
        if self._kept_from <= now < self._kept_until:
            return True
        if self._token is not None:
            step = decide_step(
                carried_issued_at=self._token.issued_at, carried_since=self._carried_since, now=now, dice=self._dice
            )
            if step is not TokenStep.CHANGE:
                self._remember(self._token, now)
                return step is TokenStep.KEEP
        self._token = source.current(key_id, now)
        self._authorization = "bearer " + self._token.jwt
        self._carried_since = now
        self._remember(self._token, now)
        return True

    def _remember(self, token: ProviderToken, now: float) -> None:
        """Keep a token of this window without asking again until the window ends, or the clock steps back."""
        if token.issued_at == issued_at(now):
            self._kept_from, self._kept_until = now, window_ends_at(now)

    def send(self, push: Push) -> None:
        """Send a push under the token that `renew_token` chose, if it still may leave and its caller is still there."""
        if push.answered.done():
            return
        if not push.request.may_open():
            push.fail(GateClosedError())
            return
        if not self._authorization:  # pragma: no cover  a bug
            raise AssertionError("renew_token was not asked")
        push.tries += 1
        push.carried_by = self.number
        self._connection.open_stream(push, self._authorization)

    def is_worn(self, now: float) -> bool:
        """Tell whether a failure is rather the connection's than the push's."""
        return not self.is_fruitful or now - self.opened_at >= WORN_AFTER_S

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


def are_full(members: Iterable[Member], avoid: int | None) -> bool:
    """Tell whether none of several connections, but for the one avoided, will soon take pushes."""
    return all(member.is_full for member in members if member.number != avoid)
