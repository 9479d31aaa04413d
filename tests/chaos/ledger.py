"""Join three independent records of the same notifications, and say what does not add up.

The producer wrote down what was accepted, the simulator what arrived, feedback and dead letters how each one ended.
Pure: takes the records, returns an account.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane

ACCEPTED: Final = 200
#: An answer that came this long before its worker died may not have been written down yet: progress is written every
#: 50 ms, and a machine with nothing to spare takes its time.
UNWRITTEN_S: Final = 1.0
#: A call may arrive this long after its time: its stream was opened before.
ON_THE_WAY_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A notification that somebody holds a receipt for.

    Attributes:
        apns_id: From the receipt.
        lane: The lane that carries it.
        device_token: Lower-case hex.
        at: When the receipt came, Unix seconds.
        deadline: When it is worth nothing any more, Unix seconds; None for never.
        version: Of updates that replace each other: higher is newer; None for others.
    """

    apns_id: str
    lane: Lane
    device_token: str
    at: float
    deadline: float | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A request that the simulator judged.

    Attributes:
        apns_id: Of its header.
        device_token: Lower-case hex.
        at: When it was whole, Unix seconds.
        status: HTTP status of the answer.
        connection: Number of the connection.
        provider_token: Stands for the provider token it carried.
        issued_at: When that says it was issued, Unix seconds.
        key_id: The key it was signed with.
        version: From its payload; None when there is none.
    """

    apns_id: str
    device_token: str
    at: float
    status: int
    connection: int
    provider_token: str = ""
    issued_at: int = 0
    key_id: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a notification ended, by feedback.

    Attributes:
        apns_id: Its id.
        outcome: How.
    """

    apns_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that was done to the fleet, which may explain that Apple got a notification twice.

    Attributes:
        cause: What it was.
        begun: Unix seconds.
        ended: Unix seconds.
        connections: Those to the simulator that it concerned; None for all.
    """

    cause: str
    begun: float
    ended: float
    connections: frozenset[int] | None = None

    def explains(self, first: Arrived) -> bool:
        """Tell whether a push may have been sent again because of it: in flight then, or answered just before."""
        is_concerned = self.connections is None or first.connection in self.connections
        return is_concerned and self.begun - UNWRITTEN_S <= first.at <= self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The three records, joined.

    Attributes:
        accepted: Receipts.
        outcomes: How many ended how.
        lost: Apns ids of what was accepted and has no end.
        ended_twice: Apns ids of what has more than one.
        duplicates: For each cause, how often Apple accepted a notification again.
        per_incident: The same for each incident, in their order; of those that overlap, the first.
        concerned: For each incident, what was in flight or answered just before: its duplicates cannot be more.
        unexplained: Apns ids of what was accepted by Apple again without a cause.
        late: Apns ids of calls that arrived after their deadline.
        strangers: Apns ids that arrived or ended, and that nobody asked for.
        disagreeing: Apns ids whose end is not what Apple said.
        unheard: How many Apple accepted in an incident, so that nobody knew when they ended in another way.
        outdated: Device tokens whose versions went back, or whose last is not the newest.
        tokens_per_window: How many provider tokens one key had that were issued in the same window, at most.
    """

    accepted: int
    outcomes: Mapping[Outcome, int]
    lost: tuple[str, ...]
    ended_twice: tuple[str, ...]
    duplicates: Mapping[str, int]
    per_incident: tuple[int, ...]
    concerned: tuple[int, ...]
    unexplained: tuple[str, ...]
    late: tuple[str, ...]
    strangers: tuple[str, ...]
    disagreeing: tuple[str, ...]
    unheard: int
    outdated: tuple[str, ...]
    tokens_per_window: int

    @property
    def faults(self) -> tuple[str, ...]:
        """What must not be, one line each."""
        groups = {
            "lost": self.lost,
            "ended more than once": self.ended_twice,
            "duplicated without a cause": self.unexplained,
            "late": self.late,
            "never asked for": self.strangers,
            "ended otherwise than Apple said": self.disagreeing,
            "not the newest": self.outdated,
        }
        found = [f"{len(ids)} {what}, such as {ids[0]}" for what, ids in groups.items() if ids]
        if self.tokens_per_window > 1:
            found.append(f"{self.tokens_per_window} provider tokens of one key in one window")
        over = [at for at, repeats in enumerate(self.per_incident) if repeats > self.concerned[at]]
        return (*found, *(f"incident {at} explains fewer repeats than it is given" for at in over))


@dataclass(slots=True)
class _Entry:
    """One notification in all three records."""

    accepted: Accepted
    arrived: list[Arrived] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    @property
    def taken(self) -> list[Arrived]:
        """The requests that Apple accepted."""
        return [each for each in self.arrived if each.status == ACCEPTED]


def balance(
    accepted: Iterable[Accepted],
    arrived: Iterable[Arrived],
    ended: Iterable[Ended],
    *,
    incidents: Sequence[Incident] = (),
) -> Account:
    """Join the records.

    Args:
        accepted: What producers hold receipts for.
        arrived: What the simulator judged, in any order.
        ended: What feedback said.
        incidents: What was done to the fleet.
    """
    entries = {each.apns_id: _Entry(each) for each in accepted}
    strangers: set[str] = set()
    arrived = sorted(arrived, key=lambda each: each.at)
    for request in arrived:
        if entry := entries.get(request.apns_id):
            entry.arrived.append(request)
        else:
            strangers.add(request.apns_id)
    for end in ended:
        if entry := entries.get(end.apns_id):
            entry.ended.append(end)
        else:
            strangers.add(end.apns_id)
    repeats = list(_repeats(entries.values(), incidents))
    disagreeing = _which(entries, _disagrees)
    unheard = {apns_id for apns_id in disagreeing if _was_unheard(entries[apns_id], incidents)}
    causes = [incident for _, incident in repeats]
    return Account(
        accepted=len(entries),
        outcomes=Counter(entry.ended[-1].outcome for entry in entries.values() if entry.ended),
        lost=_which(entries, lambda entry: not entry.ended),
        ended_twice=_which(entries, lambda entry: len(entry.ended) > 1),
        duplicates=Counter(incidents[at].cause for at in causes if at is not None),
        per_incident=tuple(causes.count(at) for at in range(len(incidents))),
        concerned=tuple(sum(map(incident.explains, arrived)) for incident in incidents),
        unexplained=tuple(apns_id for apns_id, cause in repeats if cause is None),
        late=_which(entries, _is_late),
        strangers=tuple(sorted(strangers)),
        disagreeing=tuple(apns_id for apns_id in disagreeing if apns_id not in unheard),
        unheard=len(unheard),
        outdated=tuple(_outdated(entries.values())),
        tokens_per_window=_tokens_per_window(arrived),
    )


def _which(entries: Mapping[str, _Entry], is_so: Callable[[_Entry], bool]) -> tuple[str, ...]:
    return tuple(apns_id for apns_id, entry in entries.items() if is_so(entry))


def _repeats(entries: Iterable[_Entry], incidents: Sequence[Incident]) -> Iterator[tuple[str, int | None]]:
    """Yield each time Apple accepted a notification again, with the number of the incident that explains it."""
    for entry in entries:
        for before, _ in pairwise(entry.taken):
            yield (
                entry.accepted.apns_id,
                next((at for at, one in enumerate(incidents) if one.explains(before)), None),
            )


def _is_late(entry: _Entry) -> bool:
    deadline = entry.accepted.deadline
    return deadline is not None and any(each.at > deadline + ON_THE_WAY_S for each in entry.arrived)


def _disagrees(entry: _Entry) -> bool:
    """Tell whether its end says delivered though Apple never accepted it, or something else though Apple did."""
    said = {end.outcome for end in entry.ended}
    return bool(said) and (Outcome.DELIVERED in said) != bool(entry.taken)


def _was_unheard(entry: _Entry, incidents: Sequence[Incident]) -> bool:
    """Tell whether whoever sent it, each time that Apple accepted it, may not have lived to tell."""
    return bool(entry.taken) and all(any(one.explains(each) for one in incidents) for each in entry.taken)


def _outdated(entries: Iterable[_Entry]) -> Iterator[str]:
    """Yield devices that got an older update after a newer one, or never the newest that was not given up."""
    newest: dict[str, int] = {}
    got: dict[str, list[Arrived]] = defaultdict(list)
    for entry in entries:
        version = entry.accepted.version
        if version is None:
            continue
        device_token = entry.accepted.device_token
        newest[device_token] = max(newest.get(device_token, 0), version)
        got[device_token] += entry.taken
    for device_token, version in newest.items():
        versions = [each.version or 0 for each in sorted(got[device_token], key=lambda each: each.at)]
        if versions != sorted(versions) or not versions or versions[-1] != version:
            yield device_token


def _tokens_per_window(arrived: Iterable[Arrived]) -> int:
    issued: dict[tuple[str, int], set[str]] = defaultdict(set)
    for request in arrived:
        issued[request.key_id, request.issued_at].add(request.provider_token)
    return max(map(len, issued.values()), default=0)
