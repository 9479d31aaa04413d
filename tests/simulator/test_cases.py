"""Every case of cases.toml, with both profiles; RESULTS.md holds what they were answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.simulator.cases import FILE, PROFILES, Case, read_cases, run_case
from tests.simulator.results import FILE as RESULTS
from tests.simulator.results import table

if TYPE_CHECKING:
    from tests.simulator.running import Run

CASES = read_cases()
#: The list of Apple's rules that this simulator is held to.
LISTED = {
    "T": (1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14),
    "M": (1, 2, 3, 4, 6, 8, 9, 10, 11),
    "A": (1, 3, 4, 5, 6, 7, 9, 11, 12, 14, 15, 16, 17, 18, 22, 23, 24, 25, 26, 27, 28, 30, 32, 33, 34, 35, 37),
    "H": (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25, 27, 29, 30, 32),
    "P": (1, 3, 5, 7, 8, 9, 10),
    "K": (1, 2, 3, 5, 8, 9, 10),
    "R": (1, 2, 3, 5, 7, 8, 9, 10, 11),
    "S": (1, 3, 5, 6, 7, 8, 10, 11),
    "B": (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 21, 23, 24),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_answered_as_apple_would(case: Case, profile: str, run: Run) -> None:
    """Each request of the case is answered as its line says, in the finer points too."""
    apns = run(case.settings(profile))

    assert case.expected(profile) == run_case(case, apns)


def test_every_case_of_the_list_is_there_once() -> None:
    """No case of the list is missing, and no name stands for two."""
    names = [case.name for case in CASES]
    listed = {f"{letter}{number}" for letter, numbers in LISTED.items() for number in numbers}

    assert len(names) == len(set(names))
    assert listed <= {name.partition(" ")[0] for name in names}


def test_a_case_is_one_line() -> None:
    """Every line of a list is a whole case, so that one more case is one more line."""
    lines = [line for line in FILE.read_text().splitlines() if line.strip() and not line.startswith("#")]

    assert {bool(re.fullmatch(r'\w+ = \[|\]|  \{ id = ".+" \},|  \{ id = .+ \},', line)) for line in lines} == {True}
    assert len(lines) == len(CASES) + 2 * len({case.group for case in CASES})


def test_the_results_are_those_of_these_cases() -> None:
    """RESULTS.md was generated from the cases as they are now."""
    expected = {profile: {case.name: case.expected(profile) for case in CASES} for profile in PROFILES}

    assert table(CASES, expected) in RESULTS.read_text()
