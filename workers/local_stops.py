"""What this process alone holds back: a key or app that Apple has just refused.

Until a probe goes well, or the fleet pauses it. Pure; all times are Unix seconds of the state server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dispatcher.pausing import Scope
from workers import probing

#: A provider token refused as expired this much later again, over fresh connections, is no accident.
STALE_AFTER_S: Final = 4.0
#: How long a key rests whose provider tokens changed too often.
REST_S: Final = 300.0
#: A probe that nobody has answered after this is given up.
PROBE_LASTS_S: Final = 15.0


@dataclass(slots=True, kw_only=True)
class LocalStop:
    """One stop.

    Attributes:
        reason: Apple's.
        since: When it began.
        go_on_at: When the next probe may be sent, or the rest is over.
        is_rest: It ends by itself, without a probe.
        probes: Probes that failed.
        probe_ends: Until when a probe is under way.
    """

    reason: str
    since: float
    go_on_at: float
    is_rest: bool = False
    probes: int = 0
    probe_ends: float = 0.0

    def holds(self, now: float) -> bool:
        """Tell whether not even a probe may be sent."""
        return now < max(self.go_on_at, self.probe_ends)


class LocalStops:
    """The stops of one process."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._stops: dict[Scope, LocalStop] = {}
        self._stale_since: dict[Scope, float] = {}

    @property
    def has_any(self) -> bool:
        """Whether anything is stopped, or about to be."""
        return bool(self._stops or self._stale_since)

    def stop(self, scope: Scope, reason: str, now: float) -> bool:
        """Stop a scope, or note that its probe failed; True when that is news for the fleet."""
        stop = self._stops.get(scope)
        if stop is None or stop.is_rest:
            self._stops[scope] = LocalStop(reason=reason, since=now, go_on_at=now + probing.first_s(self._scale))
            return True
        if now >= stop.probe_ends:
            return False  # the answer to a push that left before
        stop.probes += 1
        stop.probe_ends = 0.0
        stop.go_on_at = now + probing.distance_s(stop.probes, self._scale)
        return True

    def rest(self, scope: Scope, reason: str, now: float) -> bool:
        """Send nothing of a scope for some minutes; True when it did not rest already."""
        if scope in self._stops:
            return False
        go_on_at = now + self._scale * REST_S
        self._stops[scope] = LocalStop(reason=reason, since=now, go_on_at=go_on_at, is_rest=True)
        return True

    def is_stale(self, scope: Scope, now: float) -> bool:
        """Note a provider token refused as expired; True when fresh connections did not help."""
        since = self._stale_since.setdefault(scope, now)
        return scope in self._stops or now - since >= self._scale * STALE_AFTER_S

    def stopping(self, scopes: Iterable[Scope], now: float) -> list[LocalStop]:
        """Return the stops of any of these scopes; a rest that is over is forgotten."""
        if not self._stops:
            return []
        found = [(scope, self._stops[scope]) for scope in scopes if scope in self._stops]
        for scope, stop in found:
            if stop.is_rest and now >= stop.go_on_at:
                del self._stops[scope]
        return [stop for scope, stop in found if scope in self._stops]

    def note_fine(self, scopes: Iterable[Scope], *, is_probe: bool) -> None:
        """Learn that Apple took key and app; only a probe tells that a stop is over: others may have left before."""
        if not self.has_any:
            return
        for scope in scopes:
            self._stale_since.pop(scope, None)
            if is_probe:
                self._stops.pop(scope, None)

    def lift(self, scope: Scope) -> None:
        """Forget a stop: the fleet's pause has taken its place."""
        self._stops.pop(scope, None)
        self._stale_since.pop(scope, None)


def take_probe(stops: Iterable[LocalStop], now: float) -> None:
    """Note that a probe of these stops is under way."""
    for stop in stops:
        stop.probe_ends = now + PROBE_LASTS_S


def give_back_probe(stops: Iterable[LocalStop]) -> None:
    """Note that the probe got no answer: another may go."""
    for stop in stops:
        stop.probe_ends = 0.0
