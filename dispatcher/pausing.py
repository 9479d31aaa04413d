"""Pauses: what the whole fleet does not send at present. Each function says one call of one script.

A pause has a scope: an app, a lane and a signing key, each one or any. Workers make a pause when Apple's answers tell
that a key or app is wrong, and end it when a probe is answered well; an operator's pause ends by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from dispatcher import redis_keys
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall, text

ANY: Final = "*"
#: How long a host's report of trouble is remembered, in seconds.
REPORT_COUNTS_S: Final = 600
#: A host whose workers gave no sign for longer cannot confirm anything.
SIGN_COUNTS_S: Final = 15
_SEPARATOR: Final = "|"


class PausedBy(StrEnum):
    """Who made a pause."""

    WORKERS = "workers"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a pause is about; '*' stands for any.

    Attributes:
        app: Bundle id.
        lane: Lane.
        key_id: Signing key.
    """

    app: str = ANY
    lane: str = ANY
    key_id: str = ANY

    def __str__(self) -> str:
        """Return the field of the hash."""
        return _SEPARATOR.join((self.app, self.lane, self.key_id))

    @classmethod
    def parse(cls, field: str) -> Self:
        """Return the scope of a field of the hash."""
        app, lane, key_id = field.split(_SEPARATOR)
        return cls(app=app, lane=lane, key_id=key_id)

    def covers(self, app: str, lane: Lane, key_id: str | None) -> bool:
        """Tell whether an app's pushes of a lane, under a signing key if it is known, are within the scope."""
        return self.app in (ANY, app) and self.lane in (ANY, lane) and self.key_id in (ANY, key_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause of the fleet.

    Attributes:
        scope: What is paused.
        reason: Apple's reason, or ours.
        since: Unix seconds of the state server's clock.
        by: Who made it.
        probes: How many probes were sent.
        probe_at: When the next may be sent, Unix seconds.
    """

    scope: Scope
    reason: str
    since: float
    by: PausedBy
    probes: int
    probe_at: float

    def is_probe_due(self, now: float) -> bool:
        """Tell whether a probe may be sent."""
        return self.by is PausedBy.WORKERS and now >= self.probe_at


def pause(scope: Scope, reason: str) -> StateCall[bool]:
    """Pause a scope by hand; False when it is so already."""
    return StateCall(
        script="pause",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.paused(),),
        args=(str(scope), reason, PausedBy.OPERATOR),
        read=bool,
    )


def resume(scope: Scope, *, by: PausedBy) -> StateCall[bool]:
    """End a pause, for workers only one of their own; False when there is none."""
    return StateCall(
        script="resume",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.paused(), redis_keys.reported(str(scope))),
        args=(str(scope), "" if by is PausedBy.OPERATOR else by),
        read=bool,
    )


def read() -> StateCall[list[Pause]]:
    """Ask what is paused."""
    return StateCall(
        script="read_pauses", shard=redis_keys.FLEET_SHARD, keys=(redis_keys.paused(),), args=(), read=_read
    )


def report_trouble(scope: Scope, host: str, reason: str, *, is_certain: bool, first_probe_s: float) -> StateCall[bool]:
    """Report that a host's pushes of a scope do harm; True when the fleet is paused.

    Args:
        host: Where the worker runs; a second one confirms what the first says.
        is_certain: Nobody needs to confirm it.
        first_probe_s: When to look whether it is over, in seconds.
    """
    args = (
        str(scope),
        host,
        reason,
        PausedBy.WORKERS,
        int(is_certain),
        REPORT_COUNTS_S,
        SIGN_COUNTS_S,
        first_probe_s,
    )
    return StateCall(
        script="report_trouble",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.paused(), redis_keys.reported(str(scope)), redis_keys.workers()),
        args=(*args, 0),
        again=(*args, 1),
        read=bool,
    )


def take_probe(scope: Scope, *, first_s: float, longest_s: float) -> StateCall[bool]:
    """Ask for the right to send one notification of a paused scope; the next has it only after a growing distance."""
    return StateCall(
        script="take_probe",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.paused(),),
        args=(str(scope), PausedBy.WORKERS, first_s, longest_s),
        read=bool,
    )


def _read(reply: Sequence[bytes]) -> list[Pause]:
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return [_pause(Scope.parse(text(field)), text(stored)) for field, stored in pairs]


def _pause(scope: Scope, stored: str) -> Pause:
    fields = json.loads(stored)
    return Pause(
        scope=scope,
        reason=fields["reason"],
        since=fields["since"],
        by=PausedBy(fields["by"]),
        probes=fields["probes"],
        probe_at=fields["probe_at"],
    )
