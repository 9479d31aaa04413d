"""What the fleet does not send at present: read every second, so that the next push already knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from redis.exceptions import RedisError

from dispatcher import pausing
from dispatcher.pausing import Pause, PausedBy, Scope
from dispatcher.push_types import Lane
from dispatcher.settings import App
from dispatcher.state_server import AsyncStateServer
from workers import probing
from workers.reasons import Bearing, Verdict, bearing
from workers.safeguards import SUSPECT_ENVIRONMENT
from workers.trouble import Trouble

READ_EVERY_S: Final = 1.0

log = structlog.get_logger()


class FleetPauses:
    """The fleet's pauses as one process knows them; implements `sending.Pauses` and `trouble.Fleet`.

    While the state server is gone the last known ones hold.
    """

    def __init__(
        self,
        state: AsyncStateServer,
        *,
        apps: Mapping[str, App],
        host: str,
        scale: float,
        lift: Callable[[Scope], None],
    ) -> None:
        """Make it; nothing is paused until `refresh`.

        Args:
            state: The state server.
            apps: The apps this worker knows, by bundle id.
            host: Whose word this process's reports are.
            scale: Factor on every delay; below 1 only in development.
            lift: Called with each scope that is paused, so that the process need not stop it on its own.
        """
        self._state = state
        self._apps = apps
        self._host = host
        self._scale = scale
        self._lift = lift
        self._pauses: tuple[Pause, ...] = ()

    def is_paused(self, app: str, lane: Lane) -> bool:
        """Tell whether an app's notifications of a lane are parked."""
        return bool(self._pauses) and bool(self.covering(app, lane))

    def covering(self, app: str, lane: Lane) -> list[Pause]:
        """Return the pauses that concern an app's notifications of a lane."""
        known = self._apps.get(app)
        key_id = known.key_id if known else None
        return [pause for pause in self._pauses if pause.scope.covers(app, lane, key_id)]

    @property
    def all(self) -> Sequence[Pause]:
        """Every pause of the fleet."""
        return self._pauses

    async def take_probe(self, app: str, lane: Lane) -> bool:
        """Ask whether one notification may be sent all the same, to see whether the trouble is over."""
        covering = self.covering(app, lane)
        if not covering or any(pause.by is not PausedBy.WORKERS for pause in covering):
            return False
        first_s, longest_s = probing.first_s(self._scale), probing.longest_s(self._scale)
        try:
            for pause in covering:
                if not await self._state.run(pausing.take_probe(pause.scope, first_s=first_s, longest_s=longest_s)):
                    return False
        except RedisError as exc:
            log.warning("probe_not_taken", error=type(exc).__name__)
            return False
        return True

    async def report(self, trouble: Trouble) -> None:
        """Tell the fleet of trouble; when this returns the pause is known here, if it was made."""
        if trouble.ends_by_itself:
            log.error("apns_rests", scope=str(trouble.scope), reason=trouble.reason)
            return
        log.warning("apns_stopped", scope=str(trouble.scope), reason=trouble.reason)
        call = pausing.report_trouble(
            trouble.scope,
            self._host,
            trouble.reason,
            is_certain=trouble.is_certain,
            first_probe_s=probing.first_s(self._scale),
        )
        try:
            if await self._state.run(call):
                await self.refresh()
        except RedisError as exc:
            log.warning("trouble_not_reported", scope=str(trouble.scope), error=type(exc).__name__)

    async def recovered(self, app: str, lane: Lane, verdict: Verdict) -> None:
        """End the pauses that a probe's answer speaks against; an operator's ends by hand alone."""
        over = [pause.scope for pause in self.covering(app, lane) if _is_over(pause, verdict)]
        try:
            for scope in over:
                if await self._state.run(pausing.resume(scope, by=PausedBy.WORKERS)):
                    log.warning("apns_resumed", scope=str(scope))
            if over:
                await self.refresh()
        except RedisError as exc:
            log.warning("not_resumed", app=app, error=type(exc).__name__)

    async def refresh(self) -> None:
        """Read what is paused.

        Raises:
            RedisError: The state server did not answer.
        """
        found = await self._state.run(pausing.read())
        self._pauses = tuple(found)
        for pause in self._pauses:
            self._lift(pause.scope)

    async def keep_reading(self) -> None:
        """Read again and again, until cancelled."""
        while True:
            await asyncio.sleep(READ_EVERY_S)
            try:
                await self.refresh()
            except RedisError as exc:
                log.warning("pauses_not_read", error=type(exc).__name__)


def _is_over(pause: Pause, verdict: Verdict) -> bool:
    is_same_again = pause.reason == SUSPECT_ENVIRONMENT and verdict is Verdict.WRONG_DEVICE
    return pause.by is PausedBy.WORKERS and bearing(verdict) is Bearing.FINE and not is_same_again
