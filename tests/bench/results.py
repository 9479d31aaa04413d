"""What a benchmark finds: rows of numbers, or that a run does not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TypeVar

RunT = TypeVar("RunT")


class Unit(StrEnum):
    """What a row's numbers are."""

    US = "us"
    MS = "ms"
    MB = "MB"
    RATIO = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        unit: Of the numbers.
        values: One per round.
        aim: What the median should not exceed; None where there is no aim.
        note: What helps to understand the numbers.
    """

    what: str
    unit: Unit
    values: Sequence[float]
    aim: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Return the middle of the rounds."""
        return median(self.values)

    @property
    def is_met(self) -> bool:
        """Tell whether the median is within the aim, if there is one."""
        return self.aim is None or self.median <= self.aim


class VoidError(Exception):
    """What was sent, seen and answered do not agree: the run does not count."""


def must_agree(what: str, *, expected: int, found: int) -> None:
    """Compare the counts of both ends.

    Raises:
        VoidError: They differ.
    """
    if expected != found:
        raise VoidError(f"{what}: expected {expected:,}, found {found:,}")


def compare(rounds: int, ours: Callable[[], RunT], theirs: Callable[[], RunT]) -> tuple[list[RunT], list[RunT]]:
    """Let two contestants run in turn; return each one's runs."""
    our_runs, their_runs = in_turn(rounds, [ours, theirs])
    return our_runs, their_runs


def in_turn(rounds: int, contestants: Sequence[Callable[[], RunT]]) -> list[list[RunT]]:
    """Let contestants run in turn, the order of a round being reversed in the next; return each one's runs."""
    runs: list[list[RunT]] = [[] for _ in contestants]
    for number in range(rounds):
        turns = list(zip(contestants, runs, strict=True))
        for run, found in reversed(turns) if number % 2 else turns:
            found.append(run())
    return runs


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [our / their for our, their in zip(ours, theirs, strict=True)]
