"""What an attempt is made of: a notification under a lease, and what every attempt of a process shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.settings import App
from workers.lease import Lease
from workers.safeguards import Safeguards
from workers.transport.port import Transport


class Pauses(Protocol):
    """What must not be sent at present, because it would only do harm."""

    def is_paused(self, app: str, lane: Lane) -> bool:
        """Tell whether an app's notifications of a lane are parked."""
        ...

    async def take_probe(self, app: str, lane: Lane) -> bool:
        """Ask whether one notification may be sent all the same, to see whether the trouble is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What every attempt of a process shares.

    Attributes:
        transport: The way to APNs.
        apps: The apps this worker knows, by bundle id.
        now: The state server's clock, Unix seconds.
        dice: Random numbers from 0 up to 1.
        retry_scale: Factor on every delay.
        has_stopped: Whether this process opens no stream any more, because it ends.
        pauses: What must not be sent at present.
        safeguards: What this process found out about that on its own.
    """

    transport: Transport
    apps: Mapping[str, App]
    now: Callable[[], float]
    dice: Callable[[], float]
    retry_scale: float
    has_stopped: Callable[[], bool]
    pauses: Pauses
    safeguards: Safeguards = field(default_factory=Safeguards)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One notification, ready to be sent.

    Attributes:
        record: The record it is part of.
        index: Its place there.
        apns_id: Its id.
        accepted_at: When it was accepted, Unix seconds.
        attempts: Attempts used before.
        lease: The claim it is sent under.
        is_probe: It is sent though its app or key is paused.
        is_cancelled: Tells whether it must not be sent any more.
    """

    record: Record
    index: int
    apns_id: str
    accepted_at: float
    attempts: int
    lease: Lease
    is_probe: bool = False
    is_cancelled: Callable[[], bool] = lambda: False

    @property
    def expires_at(self) -> float | None:
        """When it must not be sent any more, Unix seconds; None for never."""
        return self.record.expires_at(self.accepted_at)

    @property
    def lane(self) -> Lane:
        """The lane it is sent in."""
        return PUSH_TYPES[self.record.push_type].lane

    def is_expired(self, now: float) -> bool:
        """Tell whether it must not be sent any more."""
        expires_at = self.expires_at
        return expires_at is not None and now >= expires_at

    def time_left_s(self, now: float) -> float | None:
        """Return how long it may still be sent, in seconds; None for ever."""
        expires_at = self.expires_at
        return None if expires_at is None else expires_at - now
