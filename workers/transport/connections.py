"""The connections of one environment and signing key, and the pushes waiting for one.

    submit -> waiting -> a connection with room -> gate -> stream -> answer
                    `-> no room: connect, one attempt at a time

A push is one future, from `submit` to its answer. Apple binds a connection to a team and its key, so pools share
nothing. Knows no HTTP/2: any `Connection` will do.

Source: "Sending notification requests to APNs" (one stream until a valid provider token was seen; connections are kept
open), "Communicating with APNs".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from dispatcher.errors import SigningError, TransportError
from workers.reasons import judge
from workers.transport.backoff import backoff_s
from workers.transport.member import (
    BLAMELESS,
    FRUITFUL,
    SPOILING,
    UNPROVING,
    Answered,
    Connection,
    ConnectionInfo,
    Listener,
    Member,
    ProviderTokenSource,
    Unfit,
)
from workers.transport.port import ApnsAnswer, GateClosedError, PushRequest

if TYPE_CHECKING:
    from dispatcher.push_types import Environment

#: Pushes in flight a new pool allows itself; one more for each push Apple takes, which doubles them per round trip.
START_IN_FLIGHT: Final = 8

#: How often the gates of waiting pushes are asked again; the port promises half a second.
TICK_S: Final = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """What one pool is made of.

    Attributes:
        environment: Which of Apple's hosts.
        key_id: The signing key.
        max_connections: Most connections that take pushes; retired ones, closing after their last answer, come on top.
        connect: Opens a connection that reports to a listener; TransportError when it cannot.
        tokens: Where provider tokens come from.
        now: Unix seconds of the state server's clock; may jump.
        dice: Draws from 0 up to 1.
    """

    environment: Environment
    key_id: str
    max_connections: int
    connect: Callable[[Listener], Awaitable[Connection]]
    tokens: ProviderTokenSource
    now: Callable[[], float]
    dice: Callable[[], float]


class ConnectionPool:
    """Hands pushes to connections, first come first served; belongs to one event loop.

    Never opens a stream without asking the push's gate, never sends a push twice, never has two attempts to connect
    under way.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._log = log.bind(environment=settings.environment.value, key_id=settings.key_id)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[PushRequest, Answered]] = deque()
        self._members: dict[Connection, Member] = {}
        self._allowance = START_IN_FLIGHT
        self._connecting: asyncio.Task[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._failures = 0
        self._failure = ""
        self._pause_ends_at = 0.0

    def submit(self, request: PushRequest, answered: Answered) -> None:
        """Send a push as soon as there is room; `answered` gets what becomes of it."""
        if self._is_pausing and not self._usable():
            answered.set_exception(TransportError(self._failure, maybe_sent=False))
            return
        self._waiting.append((request, answered))
        self._pump()

    def infos(self) -> list[ConnectionInfo]:
        """Describe every connection, retired ones included."""
        return [member.info(self._settings.environment, self._settings.key_id) for member in self._members.values()]

    async def close(self) -> None:
        """Close every connection; what waits and what is in flight ends with TransportError."""
        self._fail_waiting(lambda: TransportError("the transport is closed", maybe_sent=False))
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await asyncio.gather(*(member.close() for member in list(self._members.values())))

    # -- what connections tell

    def on_answer(self, connection: Connection, answer: ApnsAnswer) -> None:
        """Learn from an answer: how many pushes may be in flight, and whether the connection goes on."""
        verdict = judge(answer)
        member = self._members.get(connection)
        if member is None:
            return
        member.note(verdict)
        if verdict in FRUITFUL:
            self._allowance += 1
            self._failures = 0
        elif verdict in UNPROVING:
            self._allowance = START_IN_FLIGHT
        if verdict in SPOILING:
            self._retire(member, Unfit.SPOILT, answer.reason)

    def on_room(self) -> None:
        """Open streams for waiting pushes."""
        self._pump()

    def on_unfit(self, connection: Connection, cause: Unfit, detail: str = "") -> None:
        """Retire a connection and, when pushes wait, replace it."""
        if connection in self._members:
            self._retire(self._members[connection], cause, detail)
            self._pump()

    def on_lost(self, connection: Connection, cause: str) -> None:
        """Forget a connection; one lost before Apple took anything counts as a failed attempt."""
        member = self._members.pop(connection, None)
        if member is None or member.is_retired:
            return
        self._log.warning("apns_connection_lost", cause=cause, in_flight=member.in_flight)
        if not member.is_fruitful:
            self._note_failure(cause)
        self._pump()

    # -- the flow of pushes

    def _usable(self) -> list[Member]:
        return [member for member in self._members.values() if not member.is_retired]

    def _pump(self) -> None:
        try:
            while self._waiting and (member := self._member_with_room()) is not None:
                request, answered = self._waiting.popleft()
                if answered.done():
                    continue
                if request.may_open():
                    member.open_stream(request, answered)
                else:
                    answered.set_exception(GateClosedError())
        except SigningError as exc:
            self._fail_waiting(partial(SigningError, str(exc)))
        if self._waiting:
            self._want_room()

    def _member_with_room(self) -> Member | None:
        usable = self._usable()
        if sum(member.in_flight for member in usable) >= self._allowance:
            return None
        for member in usable:
            if member.has_room:
                if member.renew_token(self._settings.tokens, self._settings.key_id, self._settings.now()):
                    return member
                self._retire(member, Unfit.TOKEN_CHANGE)
        return None

    def _want_room(self) -> None:
        if self._ticking is None:
            self._ticking = self._loop.call_later(TICK_S, self._tick)
        usable = self._usable()
        is_room_coming = self._connecting is not None or not all(member.is_full for member in usable)
        if not is_room_coming and not self._is_pausing and len(usable) < self._settings.max_connections:
            self._connecting = self._loop.create_task(self._connect())

    def _tick(self) -> None:
        self._ticking = None
        for request, answered in self._waiting:
            if not answered.done() and not request.may_open():
                answered.set_exception(GateClosedError())
        self._waiting = deque(waiting for waiting in self._waiting if not waiting[1].done())
        self._pump()

    def _fail_waiting(self, error: Callable[[], Exception]) -> None:
        while self._waiting:
            _, answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(error())

    # -- connecting and retiring

    @property
    def _is_pausing(self) -> bool:
        return self._failures > 0 and self._loop.time() < self._pause_ends_at

    async def _connect(self) -> None:
        settings = self._settings
        try:
            settings.tokens.current(settings.key_id, settings.now())  # a key that cannot sign is no reason to connect
            self._adopt(await settings.connect(self))
        except TransportError as exc:
            self._note_failure(exc.reason)
        except SigningError as exc:
            self._fail_waiting(partial(SigningError, str(exc)))
        finally:
            self._connecting = None
        self._pump()

    def _adopt(self, connection: Connection) -> None:
        if connection.is_lost:
            raise TransportError("the connection was closed at once", maybe_sent=False)
        self._members[connection] = Member(connection, opened_at=self._settings.now(), dice=self._settings.dice())
        self._log.info("apns_connected", connections=len(self._members))

    def _note_failure(self, cause: str) -> None:
        self._failures += 1
        self._failure = cause
        pause_s = backoff_s(self._failures, self._settings.dice())
        self._pause_ends_at = self._loop.time() + pause_s
        self._log.warning("apns_connect_failed", cause=cause, failures=self._failures, pause_s=round(pause_s, 2))
        if not self._usable():
            self._fail_waiting(lambda: TransportError(cause, maybe_sent=False))

    def _retire(self, member: Member, cause: Unfit, detail: str = "") -> None:
        if member.is_retired:
            return
        member.retire()
        self._log.info("apns_connection_retired", cause=cause.value, detail=detail, in_flight=member.in_flight)
        if not member.is_fruitful and cause not in BLAMELESS:
            self._note_failure(f"{cause.value} {detail}".rstrip())
