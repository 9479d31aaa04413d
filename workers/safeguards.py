"""What a process watches so that it does no harm: per app and lane one `Watch`, made of what they share.

before a push   admit: may it be sent, must it wait, or is it the probe?
as it leaves    is_open: still so?
after it        note: what does the answer say about the endpoint, the key, the app and its environment?
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dispatcher.pausing import Scope
from dispatcher.push_types import Environment, Lane
from dispatcher.settings import App
from workers import local_stops
from workers.device_surge import DeviceSurge, Health
from workers.endpoint_brake import EndpointBrake
from workers.local_stops import LocalStops
from workers.reasons import Bearing, Verdict, bearing
from workers.slow_devices import SlowDevices
from workers.start_gate import StartGate
from workers.transport.port import ApnsAnswer
from workers.trouble import Fleet, NoFleet, Trouble

#: Our reason for pausing an app most of whose device tokens Apple does not know.
SUSPECT_ENVIRONMENT: Final = "suspect_environment"
ENDPOINT_CLOSED: Final = "endpoint in trouble"
DEVICE_SLOWED: Final = "too many requests to this device"

_TROUBLED: Final = frozenset({Verdict.SERVER_TROUBLE, Verdict.SERVER_FAULT})
_KNOWN_DEVICE: Final = frozenset({Verdict.ACCEPTED, Verdict.DEVICE_GONE})


class Pass(StrEnum):
    """Why a push may be sent."""

    FREE = "free"
    PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A push has to wait.

    Attributes:
        reason: Why.
        lasted_s: For how long this has been so, in seconds.
        least_s: For how long at least, in seconds.
    """

    reason: str
    lasted_s: float = 0.0
    least_s: float = 0.0


class Watch:
    """What is watched for the pushes of one app and lane to one environment under one key.

    Attributes:
        gate: Lets the app start with few in flight.
    """

    def __init__(
        self,
        app: str,
        lane: Lane,
        key_id: str,
        *,
        stops: LocalStops,
        brake: EndpointBrake,
        devices: DeviceSurge,
        gate: StartGate,
    ) -> None:
        self._whole_app, self._lane_scope, self._key_scope = self._scopes = (
            Scope(app=app),
            Scope(app=app, lane=lane),
            Scope(key_id=key_id),
        )
        self._stops = stops
        self._brake = brake
        self._devices = devices
        self._unsent_since = 0.0
        self.gate = gate

    @property
    def is_environment_clear(self) -> bool:
        """Whether a device token that Apple refuses is just that."""
        return self._devices.health is Health.HEALTHY

    def admit(self, now: float, *, is_probe: bool) -> Pass | Hold:
        """Say whether a push may be sent; a probe of the fleet always may."""
        if is_probe:
            return Pass.PROBE
        stopping = self._stops.stopping(self._scopes, now)
        for stop in stopping:
            if stop.holds(now):
                return Hold(reason=stop.reason, lasted_s=now - stop.since)
        if self._brake.is_closed(now):
            wait_s = self._brake.wait_s(now)
            if wait_s > 0:
                return Hold(reason=ENDPOINT_CLOSED, least_s=wait_s)
        elif not stopping:
            return Pass.FREE
        local_stops.take_probe(stopping, now)
        return Pass.PROBE

    def held(self, now: float) -> Hold | None:
        """Return what holds pushes back now; probes are nobody's business here."""
        for stop in self._stops.stopping(self._scopes, now):
            return Hold(reason=stop.reason, lasted_s=now - stop.since)
        return Hold(reason=ENDPOINT_CLOSED) if self._brake.is_closed(now) else None

    def suspected(self, now: float) -> Hold | None:
        """Return what holds back an app whose environment seems to be wrong, if it does."""
        stops = self._stops.stopping([self._whole_app], now)
        return Hold(reason=SUSPECT_ENVIRONMENT, lasted_s=now - stops[0].since) if stops else None

    def is_open(self, now: float) -> bool:
        """Tell whether a push that is no probe may leave now."""
        return not (self._brake.is_closed(now) or self._stops.stopping(self._scopes, now))

    def stopped_for_s(self, now: float) -> float:
        """Return for how long this process has held back what the last answer stopped; 0 when it does not."""
        return max((now - stop.since for stop in self._stops.stopping(self._scopes, now)), default=0.0)

    def note(
        self, answer: ApnsAnswer, verdict: Verdict, *, way: Pass, now: float, dice: Callable[[], float]
    ) -> Trouble | None:
        """Learn from an answer; returns what the fleet should know."""
        self._unsent_since = 0.0
        if verdict is Verdict.ACCEPTED and way is Pass.FREE and not self._stops.has_any:
            # What nearly every push comes to.
            self._brake.note_success()
            self._devices.note(is_bad=False)
            return None
        if verdict in _TROUBLED:
            self._brake.note_trouble(now, retry_after_s=answer.retry_after_s, dice=dice())
        elif verdict is not Verdict.SERVER_LEAVING:
            self._brake.note_success()
        return self._note_bearing(verdict, answer.reason or f"status {answer.status}", way, now)

    def note_silence(self, *, way: Pass, was_sent: bool, now: float) -> float:
        """Learn that a push got no answer; returns for how long nothing could be sent, in seconds."""
        self._give_back_probe(way, now)
        if was_sent:
            return 0.0
        self._unsent_since = self._unsent_since or now
        return now - self._unsent_since

    def _note_bearing(self, verdict: Verdict, reason: str, way: Pass, now: float) -> Trouble | None:
        match bearing(verdict):
            case Bearing.FINE:
                return self._note_fine(verdict, way, now)
            case Bearing.NOTHING:
                self._give_back_probe(way, now)
                return None
            case Bearing.STOPS_KEY:
                return self._stop(self._key_scope, reason, now)
            case Bearing.STOPS_APP:
                return self._stop(self._lane_scope, reason, now)
            case Bearing.STALE_KEY:
                is_stale = self._stops.is_stale(self._key_scope, now)
                return self._stop(self._key_scope, reason, now) if is_stale else None
            case Bearing.RESTS_KEY:
                is_news = self._stops.rest(self._key_scope, reason, now)
                return Trouble(scope=self._key_scope, reason=reason, ends_by_itself=True) if is_news else None

    def _note_fine(self, verdict: Verdict, way: Pass, now: float) -> Trouble | None:
        is_bad = verdict is Verdict.WRONG_DEVICE
        if is_bad or verdict in _KNOWN_DEVICE:
            self._devices.note(is_bad=is_bad)
        # A device token that is refused says that the key works, and of the environment nothing good.
        self._stops.note_fine(self._scopes[is_bad:], is_probe=way is Pass.PROBE)
        if self._devices.health is Health.SURGE or (is_bad and self._stops.stopping([self._whole_app], now)):
            self._devices.forget()
            return self._stop(self._whole_app, SUSPECT_ENVIRONMENT, now, is_certain=True)
        return None

    def _stop(self, scope: Scope, reason: str, now: float, *, is_certain: bool = False) -> Trouble | None:
        is_news = self._stops.stop(scope, reason, now)
        return Trouble(scope=scope, reason=reason, is_certain=is_certain) if is_news else None

    def _give_back_probe(self, way: Pass, now: float) -> None:
        if way is Pass.PROBE:
            self._brake.note_silence()
            local_stops.give_back_probe(self._stops.stopping(self._scopes, now))


class Safeguards:
    """The watches of one process.

    Attributes:
        slow_devices: Which devices are left alone for a while.
    """

    def __init__(self, *, scale: float = 1.0, fleet: Fleet | None = None, start_in_flight: int = sys.maxsize) -> None:
        """Make them.

        Args:
            scale: Factor on every delay; below 1 only in development.
            fleet: Whom to tell; None for nobody.
            start_in_flight: With how many pushes in flight an app starts.
        """
        self.fleet: Fleet = fleet or NoFleet()
        self.slow_devices = SlowDevices()
        self._start_in_flight = start_in_flight
        self._stops = LocalStops(scale)
        self._brakes = {environment: EndpointBrake(scale) for environment in Environment}
        self._devices: dict[tuple[str, Environment], DeviceSurge] = {}
        self._watches: dict[tuple[str, str, Lane, Environment], Watch] = {}

    def watch(self, app: App, lane: Lane, environment: Environment) -> Watch:
        """Return the watch of an app's pushes, always the same one."""
        name = (app.bundle_id, app.key_id, lane, environment)
        return self._watches.get(name) or self._make_watch(name)

    def lift(self, scope: Scope) -> None:
        """Stop a scope no more on our own: the fleet pauses it."""
        self._stops.lift(scope)

    def _make_watch(self, name: tuple[str, str, Lane, Environment]) -> Watch:
        app, key_id, lane, environment = name
        devices = self._devices.setdefault((app, environment), DeviceSurge())
        watch = self._watches[name] = Watch(
            app,
            lane,
            key_id,
            stops=self._stops,
            brake=self._brakes[environment],
            devices=devices,
            gate=StartGate(self._start_in_flight, is_open=lambda: devices.health is Health.HEALTHY),
        )
        return watch
