"""What must be true of slots, in the simplest words: one device at a time, with no thought of how it is stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from dispatcher.cancellation import Cancellation
from dispatcher.slot_values import Slot, SlotTerms

PER_HOUR: Final = 3
HOUR_S: Final = 3600.0
#: Times are written with six decimals.
ROUNDING_S: Final = 1e-5


@dataclass(slots=True, kw_only=True)
class Lease:
    """A claimed notification in a worker's hands, living, dead or stalled.

    Attributes:
        claim_id: The worker's claim.
        device: Of its slot.
        number: The notification's, which is its apns id.
        ends: When the lease ends.
        has_expired: The notification must not be sent.
        version_before: The greatest version sent before.
        sent_at: When it was sent.
    """

    claim_id: str
    device: str
    number: int
    ends: float
    has_expired: bool
    version_before: int | None
    sent_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Device:
    """What one device waits for and got.

    Attributes:
        newest: The newest notification that has not ended, waiting or being sent.
        sending: Who sends.
        is_parked: Its app is paused.
        is_cancelled: What is being sent is not tried again.
        version: The greatest version that may have been sent.
        retry_at: Nothing sooner.
        sends: Time and number of what may have reached it, in order.
    """

    newest: int | None = None
    sending: Lease | None = None
    is_parked: bool = False
    is_cancelled: bool = False
    version: int | None = None
    retry_at: float = 0.0
    sends: list[tuple[float, int]] = field(default_factory=list)


class Model:
    """Every device, and what is known of every notification by its number.

    Attributes:
        devices: By name.
        terms: What each notification came with.
        waived: Those released because their device was online: the budget does not count them.
        ended: Those that have ended.
        crashes: Workers lost over a notification.
        tries: How often each may have been sent: once, and once more per crash or return.
        sent: How often each was sent.
    """

    def __init__(self, devices: list[str]) -> None:
        self.devices = {name: Device() for name in devices}
        self.terms: dict[int, SlotTerms] = {}
        self.waived: set[int] = set()
        self.ended: set[int] = set()
        self.crashes: Counter[int] = Counter()
        self.tries: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()

    def put(self, name: str, number: int, terms: SlotTerms) -> tuple[bool, bool]:
        """Take a newer notification; returns whether it replaces a waiting one, and whether it is superseded itself."""
        device = self.devices[name]
        self.terms[number] = terms
        self.tries[number] = 1
        newest = None if device.newest is None else self.terms[device.newest].version
        if any(_is_older(terms.version, other) for other in (newest, device.version)):
            self.ended.add(number)
            return False, True
        replaced = device.newest if _is_waiting(device) else None
        if replaced is not None:
            self.ended.add(replaced)
            if replaced in self.waived:
                self.waived.add(number)
        device.newest = number
        return replaced is not None, False

    def claim(self, claim_id: str, slot: Slot, *, now: float, lease_s: float) -> Lease:
        """Note that a worker got a slot, which must be the newest, free, and due."""
        device, number = self.devices[slot.device], int(slot.apns_id)
        terms = self.terms[number]
        assert (device.newest, device.sending, device.is_parked) == (number, None, False)
        assert slot.crashes == self.crashes[number]
        assert slot.has_expired == (expires_at(terms, slot.accepted_at) <= now + ROUNDING_S)
        if not slot.has_expired:
            assert now + ROUNDING_S >= max(device.retry_at, terms.send_at or 0.0), "it was sent too soon"
        ends = now + lease_s
        device.sending = Lease(
            claim_id=claim_id,
            device=slot.device,
            number=number,
            ends=ends,
            has_expired=slot.has_expired,
            version_before=device.version,
        )
        if not slot.has_expired and terms.version is not None:
            device.version = terms.version
        return device.sending

    def send(self, lease: Lease, now: float) -> None:
        """Note that a push left."""
        lease.sent_at = now
        self.devices[lease.device].sends.append((now, lease.number))
        self.sent[lease.number] += 1
        assert self.sent[lease.number] <= self.tries[lease.number], "it was repeated without a crash or a retry"

    def take_back(self, now: float) -> None:
        """Note that leases which have run out were taken back."""
        for device in self.devices.values():
            if device.sending is not None and device.sending.ends <= now:
                number = device.sending.number
                if not self._end_unless_newest(device):
                    self.crashes[number] += 1
                    self.tries[number] += 1
                device.sending = None

    def give_back(
        self, lease: Lease, *, now: float, has_ended: bool, counts: bool, delay_s: float, is_parked: bool
    ) -> bool:
        """Note what a worker says of a slot; False when it is not its any more, and nothing is noted."""
        device = self.devices[lease.device]
        if device.sending is not lease:
            return False
        if not counts:
            device.version = lease.version_before
            if lease.sent_at is not None:
                device.sends.remove((lease.sent_at, lease.number))
        if delay_s:
            device.retry_at = now + delay_s
        if has_ended:
            self.ended.add(lease.number)
            device.newest = None if device.newest == lease.number else device.newest
        elif not self._end_unless_newest(device):
            self.tries[lease.number] += 1
        device.sending, device.is_cancelled = None, False
        device.is_parked = is_parked and device.newest is not None
        return True

    def cancel(self, name: str, number: int) -> set[Cancellation]:
        """Cancel; returns what may be answered."""
        device = self.devices[name]
        if device.sending is not None and device.sending.number == number:
            device.is_cancelled = True
            return {Cancellation.BEING_SENT}
        if device.newest != number:
            return {Cancellation.ENDED, Cancellation.UNKNOWN}
        self._end_waiting(device)
        return {Cancellation.CANCELLED}

    def online(self, name: str, *, fetched: bool) -> str:
        """Note that the app was launched; returns what becomes of the waiting one."""
        device = self.devices[name]
        is_waiting = _is_waiting(device)
        if fetched:
            if is_waiting:
                self._end_waiting(device)
            device.newest = None
            return "dropped" if is_waiting else "nothing"
        if is_waiting and device.newest is not None:
            self.waived.add(device.newest)
        return "released" if is_waiting else "nothing"

    def _end_waiting(self, device: Device) -> None:
        if device.newest is not None:
            self.ended.add(device.newest)
        device.newest, device.is_parked = None, False

    def _end_unless_newest(self, device: Device) -> bool:
        """End what is being sent without success if it was cancelled or there is newer news."""
        assert device.sending is not None
        number, is_newest = device.sending.number, device.newest == device.sending.number
        if is_newest and not device.is_cancelled:
            return False
        self.ended.add(number)
        device.newest = None if is_newest else device.newest
        device.is_cancelled = False
        return True

    def check_order(self) -> None:
        """Nothing old came after something new, by arrival and by the app's own count."""
        for device in self.devices.values():
            numbers = [number for _, number in device.sends]
            versions = [version for number in numbers if (version := self.terms[number].version) is not None]
            assert numbers == sorted(numbers)
            assert versions == sorted(versions)

    def check_budget(self) -> None:
        """In no half-open hour did a device get more different notifications than its budget allows, evenly spaced."""
        for device in self.devices.values():
            for (before, one), (after, other) in pairwise(device.sends):
                assert one == other or other in self.waived or after - before >= HOUR_S / PER_HOUR - ROUNDING_S
            sends = [(at, number) for at, number in device.sends if number not in self.waived]
            for start, _ in sends:
                assert len({number for at, number in sends if start <= at < start + HOUR_S}) <= PER_HOUR


def expires_at(terms: SlotTerms, accepted_at: float) -> float:
    """Return when a notification must not be sent any more."""
    if terms.expires_in is None:
        return float("inf")
    return max(accepted_at, terms.send_at or 0.0) + terms.expires_in


def _is_waiting(device: Device) -> bool:
    return device.newest is not None and (device.sending is None or device.sending.number != device.newest)


def _is_older(version: int | None, other: int | None) -> bool:
    return version is not None and other is not None and version < other
