"""The connections of one environment and signing key, and the pushes waiting for one.

    submit -> waiting -> a connection with room -> gate -> stream -> answer
                    |                       `-> handed back: waiting again, a few times
                    `-> no room: connect, one attempt at a time

A push is one `Push`, from `submit` to its answer; one that APNs certainly has not processed comes back and goes first.
Apple binds a connection to a team and its key, so pools share nothing. Knows no HTTP/2: any `Connection` will do.

Source: "Sending notification requests to APNs" (one stream until a valid provider token was seen; connections are kept
open), "Communicating with APNs".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from dispatcher.errors import SigningError, TransportError
from workers.reasons import judge
from workers.transport.backoff import Backoff
from workers.transport.connection_port import Connection, Push, Unfit
from workers.transport.member import BLAMELESS, FAULTY, FRUITFUL, SPOILING, UNPROVING, ConnectionInfo, Member, are_full
from workers.transport.pool_settings import PoolSettings
from workers.transport.port import ApnsAnswer
from workers.transport.waiting import WaitingPushes

#: Pushes in flight a new pool allows itself; one more for each push Apple takes, which doubles them per round trip.
START_IN_FLIGHT: Final = 8

#: On how many streams a push may be before it is given up; more than one only if APNs did not process the others.
MOST_TRIES: Final = 3

#: How often the gates of waiting pushes are asked again; the port promises half a second.
TICK_S: Final = 0.25

log = structlog.get_logger(__name__)


class ConnectionPool:
    """Hands pushes to connections, first come first served; belongs to one event loop.

    A push that avoids a connection goes over another if there is one with room, or one can be opened.

    Never opens a stream without asking the push's gate, never sends a push again that APNs may have processed, never
    has two attempts to connect under way.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._log = log.bind(environment=settings.environment.value, key_id=settings.key_id)
        self._loop = asyncio.get_running_loop()
        self._waiting = WaitingPushes(self._loop.time)
        self._members: dict[Connection, Member] = {}
        self._allowance = START_IN_FLIGHT
        self._connecting: asyncio.Task[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._backoff = Backoff()
        self._is_closed = False

    def submit(self, push: Push) -> None:
        """Send a push as soon as there is room."""
        if self._backoff.failures and not self._may_hope():
            push.fail(TransportError(self._backoff.cause, maybe_sent=False))
            return
        self._waiting.add(push)
        self._pump()

    def infos(self) -> list[ConnectionInfo]:
        """Describe every connection, retired ones included."""
        return [member.info(self._settings.environment, self._settings.key_id) for member in self._members.values()]

    def drain(self) -> None:
        """Let every connection end after its last answer; what is sent from now on goes over new ones."""
        for member in self._usable():
            self._retire(member, Unfit.TOKEN_CHANGE)

    async def close(self) -> None:
        """Close every connection; what waits and what is in flight ends with TransportError."""
        self._is_closed = True
        if self._ticking is not None:
            self._ticking.cancel()
        self._waiting.fail(lambda: TransportError("the transport is closed", maybe_sent=False))
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await asyncio.gather(*(member.close() for member in list(self._members.values())))

    # -- what connections tell

    def on_answer(self, connection: Connection, answer: ApnsAnswer) -> None:
        """Learn from an answer: how many pushes may be in flight, and whether the connection goes on."""
        member = self._members.get(connection)
        if member is None:
            return
        verdict = judge(answer)
        member.note(verdict)
        if verdict in FRUITFUL:
            self._allowance += 1
            self._backoff.succeed()
        elif verdict in UNPROVING:
            self._allowance = START_IN_FLIGHT
        if verdict in SPOILING:
            self._retire(member, Unfit.SPOILT, answer.reason)
        elif verdict in FAULTY and member.is_worn(self._settings.now()):
            self._retire(member, Unfit.FAULTY, answer.reason)

    def on_room(self) -> None:
        """Open streams for waiting pushes."""
        self._pump()

    def on_unfit(self, connection: Connection, cause: Unfit, detail: str = "") -> None:
        """Retire a connection and, when pushes wait, replace it."""
        if connection in self._members:
            self._retire(self._members[connection], cause, detail)
            self._pump()

    def on_handed_back(self, connection: Connection, pushes: Sequence[Push], cause: str) -> None:
        """Let pushes that APNs has not processed go first, elsewhere if need be, within reason."""
        for push in pushes:
            if push.tries >= MOST_TRIES or not self._may_hope():
                push.fail(TransportError(cause, maybe_sent=False))
            else:
                self._waiting.add_back(push)
        self._log.info("apns_pushes_handed_back", pushes=len(pushes), cause=cause, in_flight=connection.in_flight)
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
            if self._waiting.choosy:
                self._pump_choosy()
            while self._waiting.has_next and (member := self._member_with_room()) is not None:
                member.send(self._waiting.take())
        except SigningError as exc:
            self._waiting.fail(partial(SigningError, str(exc)))
        if self._waiting:
            self._want_room()

    def _pump_choosy(self) -> None:
        for avoid in list(self._waiting.choosy):
            while avoid in self._waiting.choosy and (member := self._member_elsewhere(avoid)) is not None:
                member.send(self._waiting.take_choosy(avoid))

    def _member_with_room(self, avoid: int | None = None) -> Member | None:
        usable = self._usable()
        if sum([member.in_flight for member in usable]) >= self._allowance:
            return None
        for member in usable:
            if member.has_room and member.number != avoid:
                if member.renew_token(self._settings.tokens, self._settings.key_id, self._settings.now()):
                    return member
                self._retire(member, Unfit.TOKEN_CHANGE)
        return None

    def _member_elsewhere(self, avoid: int) -> Member | None:
        member = self._member_with_room(avoid)
        if member is not None or (self._waiting.is_patient(avoid) and self._is_room_coming(avoid)):
            return member
        return self._member_with_room()

    def _is_room_coming(self, avoid: int) -> bool:
        usable = self._usable()
        return self._connecting is not None or self._may_connect(usable) or not are_full(usable, avoid)

    def _may_connect(self, usable: Sequence[Member]) -> bool:
        return len(usable) < self._settings.max_connections and self._connecting is None and not self._is_pausing

    def _want_room(self) -> None:
        if self._ticking is None:
            self._ticking = self._loop.call_later(TICK_S, self._tick)
        usable = self._usable()
        for member in usable:
            member.ask()
        if self._may_connect(usable) and any(are_full(usable, avoid) for avoid in self._waiting.avoided):
            self._connecting = self._loop.create_task(self._connect())

    def _tick(self) -> None:
        self._ticking = None
        self._waiting.ask_gates()
        self._pump()

    # -- connecting and retiring

    @property
    def _is_pausing(self) -> bool:
        return self._backoff.is_pausing(self._loop.time())

    def _may_hope(self) -> bool:
        return not self._is_closed and (bool(self._usable()) or not self._is_pausing)

    async def _connect(self) -> None:
        settings = self._settings
        try:
            settings.tokens.current(settings.key_id, settings.now())  # a key that cannot sign is no reason to connect
            self._adopt(await settings.connect(self))
        except TransportError as exc:
            self._note_failure(exc.reason)
        except SigningError as exc:
            self._waiting.fail(partial(SigningError, str(exc)))
        finally:
            self._connecting = None
        self._pump()

    def _adopt(self, connection: Connection) -> None:
        if connection.is_lost:
            raise TransportError("the connection was closed at once", maybe_sent=False)
        self._members[connection] = Member(connection, opened_at=self._settings.now(), dice=self._settings.dice())
        self._log.info("apns_connected", connections=len(self._members))

    def _note_failure(self, cause: str) -> None:
        pause_s = self._backoff.fail(cause, now=self._loop.time(), dice=self._settings.dice())
        self._log.warning(
            "apns_connect_failed", cause=cause, failures=self._backoff.failures, pause_s=round(pause_s, 2)
        )
        if not self._usable():
            self._waiting.fail(lambda: TransportError(cause, maybe_sent=False))
            self._alarm(cause)

    def _alarm(self, cause: str) -> None:
        # Whatever the cause, nothing is lost while it lasts: without an alarm nobody would notice.
        if self._backoff.is_alarm_due(self._loop.time()):
            self._log.error("apns_unreachable", cause=cause, failures=self._backoff.failures)

    def _retire(self, member: Member, cause: Unfit, detail: str = "") -> None:
        if member.is_retired:
            return
        member.retire()
        self._log.info("apns_connection_retired", cause=cause.value, detail=detail, in_flight=member.in_flight)
        if not member.is_fruitful and cause not in BLAMELESS:
            self._note_failure(f"{cause.value} {detail}".rstrip())
