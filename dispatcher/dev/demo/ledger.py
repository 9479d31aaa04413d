"""Join three records of the same notifications: what producers sent, what APNs received, what feedback says.

Pure: takes the records, returns an account.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.dead_letter import shortened
from dispatcher.feedback import Feedback, Outcome
from dispatcher.push_types import Lane

ACCEPTED: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An accepted notification, as its producer knows it.

    Attributes:
        apns_id: From its receipt.
        lane: The lane that carries it.
        device_token: Lower-case hex.
        at: Just before the call, Unix seconds.
        outcomes: It must end in one of these.
        version: Of updates that replace each other: higher is newer; None for others.
        replayed_outcome: Its dead letter is replayed, and then it must end so; None for others.
    """

    apns_id: str
    lane: Lane
    device_token: str
    at: float
    outcomes: frozenset[Outcome]
    version: int | None = None
    replayed_outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request that reached the simulator.

    Attributes:
        apns_id: Of its header.
        device_token: Lower-case hex.
        at: When, Unix seconds.
        status: HTTP status of the answer.
        reason: Apple's reason; empty on success.
        provider_token: Stands for the provider token it carried.
        version: From its payload; None when there is none.
    """

    apns_id: str
    device_token: str
    at: float
    status: int
    reason: str
    provider_token: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneAccount:
    """What became of one lane's notifications.

    Attributes:
        accepted: By producers' receipts.
        refused_at_call: Device tokens that a bulk call refused.
        arrived: How many reached APNs, tries and repeats not counted.
        held: How many were seen waiting until their device might get another one.
        outcomes: How many ended how; what was replayed counts by its last end.
        replayed: How many dead letters were replayed.
        reasons: Apple's reasons for what it refused, with their number.
        retried: Notifications that reached APNs more than once.
        duplicates: How often APNs accepted one again that it had accepted before.
        provider_tokens: Distinct ones seen.
        latencies_s: From the call to APNs, of each notification that arrived; ascending.
    """

    accepted: int
    refused_at_call: int
    arrived: int
    held: int
    replayed: int
    outcomes: Mapping[Outcome, int]
    reasons: Mapping[str, int]
    retried: int
    duplicates: int
    provider_tokens: int
    latencies_s: Sequence[float]

    @property
    def collapse_ratio(self) -> float | None:
        """How many notifications became one push; None where none took the place of another."""
        if not self.outcomes.get(Outcome.SUPERSEDED) or not self.arrived:
            return None
        return self.accepted / self.arrived

    def percentile(self, percent: float) -> float | None:
        """Return the latency that so many percent do not exceed, in seconds; None when nothing arrived."""
        if not self.latencies_s:
            return None
        return self.latencies_s[math.ceil(percent / 100 * len(self.latencies_s)) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The three records, joined.

    Attributes:
        lanes: By lane.
        faults: What does not agree, one line each; device tokens are masked.
    """

    lanes: Mapping[Lane, LaneAccount]
    faults: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every notification is accounted for."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One notification in all three records."""

    sent: Sent
    received: Sequence[Received]
    ended: Sequence[Feedback]

    @property
    def accepted(self) -> int:
        """How often APNs accepted it."""
        return sum(request.status == ACCEPTED for request in self.received)


def balance(
    sent: Iterable[Sent],
    received: Iterable[Received],
    ended: Iterable[Feedback],
    *,
    refused_at_call: Mapping[Lane, int],
    held: Collection[str] = (),
) -> Account:
    """Return the account of everything sent.

    Args:
        sent: By producers' receipts.
        received: What the simulator logged.
        ended: What feedback said, in the order of each notification's ends.
        refused_at_call: How many device tokens each lane's bulk calls refused.
        held: Apns ids that were seen waiting in their slots until they were due.
    """
    requests: dict[str, list[Received]] = defaultdict(list)
    ends: dict[str, list[Feedback]] = defaultdict(list)
    for request in received:
        requests[request.apns_id].append(request)
    for end in ended:
        ends[end.apns_id].append(end)
    entries = [
        _Entry(sent=one, received=requests.pop(one.apns_id, ()), ended=ends.pop(one.apns_id, ())) for one in sent
    ]
    faults = [
        *(f"{_name(entry.sent)}: {fault}" for entry in entries for fault in _faults(entry)),
        *_outdated(entries),
        *(f"{apns_id}: received, but never sent" for apns_id in requests),
        *(f"{apns_id}: reported, but never sent" for apns_id in ends),
    ]
    by_lane = {lane: [entry for entry in entries if entry.sent.lane is lane] for lane in Lane}
    lanes = {lane: _lane_account(of_lane, refused_at_call.get(lane, 0), held) for lane, of_lane in by_lane.items()}
    return Account(lanes=lanes, faults=tuple(faults))


def _faults(entry: _Entry) -> Iterator[str]:
    if any(request.device_token != entry.sent.device_token for request in entry.received):
        yield "went to another device"
    ways = [entry.sent.outcomes]
    if entry.sent.replayed_outcome is not None:
        ways.append(frozenset({entry.sent.replayed_outcome}))
    if len(entry.ended) != len(ways):
        outcomes = ", ".join(end.outcome for end in entry.ended)
        expected = {1: "once", 2: "twice"}[len(ways)]
        yield f"its end was reported {len(entry.ended)} times instead of {expected} ({outcomes or 'never'})"
        return
    for end, way in zip(entry.ended, ways, strict=True):
        if end.outcome not in way:
            yield f"ended {end.outcome} instead of {' or '.join(sorted(way))} ({end.reason or 'no reason'})"
    end = entry.ended[-1]
    if (end.outcome is Outcome.DELIVERED) != (entry.accepted > 0):
        yield f"reported {end.outcome}, but APNs accepted it {entry.accepted} times"
    if end.outcome in {Outcome.REFUSED, Outcome.UNREGISTERED} and end.reason != _last_reason(entry):
        yield f"reported {end.reason}, but APNs said {_last_reason(entry) or 'nothing'}"


def _outdated(entries: Iterable[_Entry]) -> Iterator[str]:
    """Yield the devices whose last accepted update is not the newest that was sent."""
    newest: dict[str, _Entry] = {}
    arrived: list[Received] = []
    for entry in entries:
        version = entry.sent.version
        if version is None:
            continue
        known = newest.get(entry.sent.device_token)
        if known is None or version > (known.sent.version or 0):
            newest[entry.sent.device_token] = entry
        arrived += [request for request in entry.received if request.status == ACCEPTED]
    last = {request.device_token: request.version for request in sorted(arrived, key=lambda request: request.at)}
    for device_token, entry in newest.items():
        got = last.get(device_token)
        if got != entry.sent.version:
            yield f"{_name(entry.sent)}: version {entry.sent.version} is newest, the device got {got}"


def _lane_account(entries: Sequence[_Entry], refused_at_call: int, held: Collection[str]) -> LaneAccount:
    ends = [entry.ended[-1] for entry in entries if entry.ended]
    refused = [end.reason for end in ends if end.outcome in {Outcome.REFUSED, Outcome.UNREGISTERED}]
    arrivals = [min(request.at for request in entry.received) - entry.sent.at for entry in entries if entry.received]
    return LaneAccount(
        accepted=len(entries),
        refused_at_call=refused_at_call,
        arrived=len(arrivals),
        held=sum(entry.sent.apns_id in held for entry in entries),
        replayed=sum(entry.sent.replayed_outcome is not None and len(entry.ended) > 1 for entry in entries),
        outcomes=Counter(end.outcome for end in ends),
        reasons=Counter(refused),
        retried=sum(len(entry.received) > 1 for entry in entries),
        duplicates=sum(max(0, entry.accepted - 1) for entry in entries),
        provider_tokens=len({request.provider_token for entry in entries for request in entry.received}),
        latencies_s=sorted(arrivals),
    )


def _last_reason(entry: _Entry) -> str:
    return entry.received[-1].reason if entry.received else ""


def _name(sent: Sent) -> str:
    return f"{sent.lane} {sent.apns_id} to {shortened(sent.device_token)}"
