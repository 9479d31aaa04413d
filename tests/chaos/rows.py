"""One fault each: what a row of the result table is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from tests.chaos.ledger import Account
from tests.chaos.rig import Rig

DRAINED_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What came of a row.

    Attributes:
        accepted: Receipts.
        lost: What was accepted and has no end.
        duplicated: How often Apple accepted a notification again, with a cause.
        facts: What else was measured, by its name.
        problems: What should not be, one line each; none if the row holds.
    """

    accepted: int = 0
    lost: int = 0
    duplicated: int = 0
    facts: Mapping[str, object] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, account: Account, *problems: str, **facts: object) -> Self:
        """Return what the ledger says, with more facts and problems; underscores in names of facts are spaces."""
        return cls(
            accepted=account.accepted,
            lost=len(account.lost),
            duplicated=sum(account.duplicates.values()),
            facts={name.replace("_", " "): value for name, value in facts.items()},
            problems=(*account.faults, *problems),
        )

    def with_facts(self, **facts: object) -> Self:
        """Return the same with more facts; underscores in their names are spaces."""
        return replace(self, facts={**self.facts, **{name.replace("_", " "): value for name, value in facts.items()}})

    def but(self, *problems: str) -> Self:
        """Return the same with more problems."""
        return replace(self, problems=(*self.problems, *problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault and what must hold.

    Attributes:
        number: Its name in the table: R1, B4 ...
        fault: What is done, in words.
        limit: What must hold.
        run: Does it, in a directory of its own.
        is_quick: It is part of every test run; others are run for the table and in the long profile.
        otherwise: What is known of doing without, where it was measured.
    """

    number: str
    fault: str
    limit: str
    run: Callable[[Path], Findings]
    is_quick: bool = False
    otherwise: str = ""


def unless(holds: object, problem: str) -> tuple[str, ...]:
    """Return a problem, or none if all is well."""
    return () if holds else (problem,)


def settled(rig: Rig, *problems: str, **facts: object) -> Findings:
    """Wait until everything has ended and return the findings."""
    rig.drain(within_s=DRAINED_WITHIN_S)
    return Findings.of(rig.account(), *problems, **facts)
