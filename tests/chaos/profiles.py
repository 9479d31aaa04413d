"""The profiles: how long, how much, and what is done meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from tests.chaos import script
from tests.chaos.growth import Growth, watch
from tests.chaos.ledger import Account
from tests.chaos.rig import Rig

#: A call that fails must say so within this time.
FAILED_WITHIN_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A run.

    Attributes:
        name: What people call it.
        seconds: How long the producer works.
        rate: Notifications per second.
        faults: What is done, by its name in `script.FAULTS`, and how often.
        drained_within_s: How long everything may take to end afterwards.
        is_calm_at_first: Nothing is done in the first half, in which memory and descriptors are watched.
    """

    name: str
    seconds: float
    rate: float
    faults: Mapping[str, int]
    drained_within_s: float
    is_calm_at_first: bool = False

    def lasting(self, minutes: float | None) -> Self:
        """Return the same of another length, with as many faults per minute; None leaves it as it is."""
        if minutes is None:
            return self
        share = minutes * 60 / self.seconds
        faults = {name: max(1, round(times * share)) for name, times in self.faults.items()}
        return replace(self, seconds=minutes * 60, faults=faults)


SMOKE: Final = Profile(
    name="smoke",
    seconds=50,
    rate=130,
    faults={"kill": 2, "terminate": 1, "reset state": 1, "slow state": 1, "restart server": 1, "goaway": 1},
    drained_within_s=60,
)
RABBITMQ: Final = replace(
    SMOKE, name="smoke on RabbitMQ", faults={**SMOKE.faults, "reset broker": 1, "silent broker": 1}
)
CHAOS: Final = Profile(
    name="chaos",
    seconds=900,
    rate=130,
    faults={
        "kill": 60,
        "terminate": 10,
        "stall": 3,
        "restart server": 4,
        "black hole": 4,
        "reset state": 10,
        "slow state": 5,
        "sliced state": 5,
        "reset apns": 4,
        "goaway": 10,
        "unavailable": 4,
    },
    drained_within_s=90,
)
SOAK: Final = Profile(
    name="soak",
    seconds=7200,
    rate=300,
    faults={"kill": 12, "terminate": 4, "goaway": 4, "reset state": 4},
    drained_within_s=90,
    is_calm_at_first=True,
)
PROFILES: Final = {profile.name: profile for profile in (SMOKE, CHAOS, SOAK)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to.

    Attributes:
        profile: Which.
        seed: Of its script.
        account: The joined records.
        kill_repeats: For each SIGKILL, how many pushes Apple accepted again.
        kill_concerned: For each SIGKILL, how many its worker had in flight or answered just before.
        failures: By name, how many calls of the producer failed.
        slowest_failure_s: How long the slowest of them took.
        exits: How workers ended that nobody had asked to.
        growth: Of the workers that lived long enough to tell; None if none did.
        drained_s: From the end of the load to the last end.
        took_s: All of it.
    """

    profile: Profile
    seed: int
    account: Account
    kill_repeats: tuple[int, ...]
    kill_concerned: tuple[int, ...]
    failures: Mapping[str, int]
    slowest_failure_s: float
    exits: tuple[str, ...]
    growth: Growth | None
    drained_s: float
    took_s: float

    @property
    def faults(self) -> tuple[str, ...]:
        """What must not be, one line each."""
        slow = [f"a call took {self.slowest_failure_s:.1f} s to fail"] * (self.slowest_failure_s > FAILED_WITHIN_S)
        grown = self.growth.faults if self.growth else ()
        return (*self.account.faults, *slow, *grown)

    def lines(self) -> Iterator[str]:
        """Yield the result as a table of two columns."""
        yield f"| {self.profile.seconds:,.0f} s at {self.profile.rate:g} a second, seed {self.seed} | |"
        yield "|---|---|"
        yield from (f"| {what} | {found} |" for what, found in self._rows())

    def _rows(self) -> Iterator[tuple[str, object]]:
        account = self.account
        yield "done to the fleet", _listed(self.profile.faults)
        yield "accepted", f"{account.accepted:,}"
        yield "ended", _listed(account.outcomes)
        yield "lost", len(account.lost)
        yield "duplicated, by cause", _listed(account.duplicates)
        yield "duplicated without a cause", len(account.unexplained)
        yield "duplicates per kill: mean, most", _mean_and_most(self.kill_repeats)
        yield "in flight or just answered per kill: mean, most", _mean_and_most(self.kill_concerned)
        yield "accepted by Apple in an incident, and ended otherwise since nobody heard", account.unheard
        yield "calls after their deadline", len(account.late)
        yield "devices without the newest update", len(account.outdated)
        yield "most provider tokens of a key in a window", account.tokens_per_window
        yield "calls of the producer that failed", _listed(self.failures)
        yield "the slowest of them", f"{self.slowest_failure_s:.2f} s"
        yield "workers that ended by themselves", len(self.exits)
        yield "from the end of the load to the last end", f"{self.drained_s:.0f} s"
        if self.growth:
            yield from self.growth.rows()
        yield "verdict", "; ".join(self.faults) or "in order"


def run(
    profile: Profile,
    directory: Path,
    *,
    seed: int,
    broker_url: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Result:
    """Run a profile from start to end.

    Args:
        profile: Which.
        directory: Where everything writes.
        seed: Of load and script.
        broker_url: Of another broker than the state server.
        say: Called with a line for each step.
    """
    begun = time.monotonic()
    with Rig(directory, broker_url=broker_url, seed=seed) as rig:
        producer = rig.produce(rate=profile.rate, seconds=profile.seconds)
        calm_s = profile.seconds / 2 if profile.is_calm_at_first else 0.0
        growth = watch(rig, calm_s, say) if calm_s else None
        steps = script.write(profile.faults, seconds=profile.seconds - calm_s, seed=seed)
        for step in script.perform(rig, steps):
            say(f"{step.at_s:6.0f} s  {step.fault}")
        rig.wait_for(producer, within_s=profile.seconds)
        drained_s = rig.drain(within_s=profile.drained_within_s)
        return _result(profile, rig, seed=seed, growth=growth, drained_s=drained_s, took_s=time.monotonic() - begun)


def _result(profile: Profile, rig: Rig, *, seed: int, growth: Growth | None, drained_s: float, took_s: float) -> Result:
    account, failures = rig.account(), rig.failures()
    incidents = rig.in_order()
    kills = [number for number, each in enumerate(incidents) if each.cause == "SIGKILL"]
    names = [each["failed"] for each in failures]
    return Result(
        profile=profile,
        seed=seed,
        account=account,
        kill_repeats=tuple(account.per_incident[number] for number in kills),
        kill_concerned=tuple(account.concerned[number] for number in kills),
        failures={name: names.count(name) for name in sorted(set(names))},
        slowest_failure_s=max((each["took_s"] for each in failures), default=0.0),
        exits=tuple(rig.exits),
        growth=growth,
        drained_s=drained_s,
        took_s=took_s,
    )


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "none"


def _mean_and_most(numbers: Sequence[int]) -> str:
    return f"{statistics.mean(numbers):.1f}, {max(numbers)}" if numbers else "none"
