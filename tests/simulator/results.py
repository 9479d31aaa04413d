"""Write RESULTS.md: run every case with both profiles (`python -m tests.simulator.results`)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.simulator.cases import PROFILES, Case, read_cases, run_case
from tests.simulator.running import Clock, RunningSimulator

FILE = Path(__file__).with_name("RESULTS.md")
_HEAD = """# What the simulator answers

Generated from `cases.toml` by `python -m tests.simulator.results`: every case was run with both profiles. Sure: H
documented or measured at Apple's, M several reports, L a guess. Several requests of one case stand in a row.

"""
_COLUMNS = "| case | what | sure | strict | observed, where it differs |\n|---|---|---|---|---|\n"

Results = Mapping[str, Mapping[str, Sequence[str]]]


def table(cases: Sequence[Case], results: Results) -> str:
    """Return the results as a table."""
    return _COLUMNS + "".join(_line(case, results) for case in cases)


def _line(case: Case, results: Results) -> str:
    strict, observed = results["strict"][case.name], results["observed"][case.name]
    row = case.row
    differing = "" if strict == observed else _cell(observed)
    return f"| {case.name} | {row['about']} | {row['sure']} | {_cell(strict)} | {differing} |\n"


def _cell(answers: Sequence[str]) -> str:
    return "; ".join(answers).replace("|", "\\|")


def main() -> None:
    """Run every case and write the table."""
    cases = read_cases()
    results: dict[str, dict[str, list[str]]] = {profile: {} for profile in PROFILES}
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        for profile, answers in results.items():
            for case in cases:
                log = directory / f"{profile}-{len(answers)}.jsonl"
                apns = RunningSimulator(directory / "apns", case.settings(profile), Clock(), log)
                try:
                    answers[case.name] = run_case(case, apns)
                finally:
                    apns.stop()
    FILE.write_text(_HEAD + table(cases, results))


if __name__ == "__main__":
    main()
