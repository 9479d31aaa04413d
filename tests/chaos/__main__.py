"""Run the profiles and the table of faults, and write down what came of them in RESULTS.md.

    python -m tests.chaos smoke            90 s
    python -m tests.chaos chaos            15 minutes and 60 kills
    python -m tests.chaos soak             2 hours
    python -m tests.chaos faults [R3 B4]   one fault after another, all or those named

Only the part that was run is written anew. Ends with exit code 1 if something is not as it should be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.chaos import faults, profiles, report
from tests.chaos.rows import Findings, Row

_FAULTS: Final = "faults"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("what", choices=[*profiles.PROFILES, _FAULTS])
    parser.add_argument("rows", nargs="*", help="numbers of rows, for faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="another length than the profile's own")
    parser.add_argument("--broker-url", help="of another broker than the state server")
    parser.add_argument("--keep", type=Path, help="keep every file of the run in this directory")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="apns-chaos-") as name:
        directory = options.keep or Path(name)
        run = _run_faults if options.what == _FAULTS else _run_profile
        is_good = run(options, directory)
    sys.exit(0 if is_good else 1)


def _run_profile(options: argparse.Namespace, directory: Path) -> bool:
    profile = profiles.PROFILES[options.what].lasting(options.minutes)
    result = profiles.run(profile, directory, seed=options.seed, broker_url=options.broker_url, say=say)
    lines = list(result.lines())
    report.write(profile.name, lines)
    say("\n".join(lines))
    return not result.faults


def _run_faults(options: argparse.Namespace, directory: Path) -> bool:
    found: dict[str, Findings] = {}
    for row in faults.ROWS:
        if not options.rows or row.number in options.rows:
            found[row.number] = _run_row(row, directory / row.number.replace(" ", "").replace(",", "-"))
            say(f"{row.number:10} {'; '.join(found[row.number].problems) or 'holds'}")
    report.write_rows(faults.ROWS, found)
    return not any(each.problems for each in found.values())


def _run_row(row: Row, directory: Path) -> Findings:
    """Run a row; what breaks it is a finding like others, so that the table is written all the same."""
    try:
        return row.run(directory)
    except Exception as exc:  # noqa: BLE001
        return Findings(problems=(f"{type(exc).__name__}: {str(exc).partition(chr(10))[0][:300]}",))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
