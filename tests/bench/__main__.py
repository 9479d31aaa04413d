"""The benchmarks: `python -m tests.bench`.

Processor time of exactly the process under test, peers in turn in the same run, counts compared at both ends. Numbers
of different machines or hours do not compare; ratios of one run do.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click
import structlog
from rich.console import Console

from dispatcher.dev.interruption import Interruption, interruptible
from dispatcher.errors import DispatcherError
from tests.bench.processor import calibrate, is_supported, processor_name
from tests.bench.results import Row, VoidError
from tests.bench.scenarios import SCENARIOS
from tests.bench.sizes import FULL, QUICK, Sizes
from tests.bench.table import markdown, show

_RESULTS: Final = Path(__file__).with_name("RESULTS.md")
_PACKAGES: Final = ("celery", "redis", "aioapns", "h2")


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes, for a first impression.")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="One benchmark; may be repeated.")
@click.option("--write", is_flag=True, help=f"Write the table to {_RESULTS.name} beside this module, too.")
def bench(*, quick: bool, only: tuple[str, ...], write: bool) -> None:
    """Measure what enqueuing and sending cost on this machine."""
    if not is_supported():
        raise click.ClickException("the benchmarks need Linux: they count processor time by /proc")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with interruptible():
            is_complete = _bench(QUICK if quick else FULL, only or SCENARIOS, write=write)
    except Interruption as exc:
        sys.exit(exc.exit_code)
    sys.exit(not is_complete)


def _bench(sizes: Sizes, names: Iterable[str], *, write: bool) -> bool:
    """Run benchmarks and show what they found; returns whether every run counts."""
    progress, console = Console(stderr=True, highlight=False), Console(highlight=False)
    rows: list[Row] = []
    faults: list[str] = []
    before_ms, load = calibrate(), os.getloadavg()[0]
    for name in names:
        progress.print(f"measuring: {name}")
        try:
            rows += SCENARIOS[name](sizes)
        except (VoidError, DispatcherError) as exc:
            faults.append(f"{name} does not count: {exc}")
    heading = [
        *_machine(),
        f"calibration loop: {before_ms:.1f} ms before, {calibrate():.1f} ms after; load before: {load:.1f}",
    ]
    for line in heading:
        console.print(line, soft_wrap=True, markup=False)
    show(rows, console)
    for fault in faults:
        console.print(fault, soft_wrap=True, markup=False)
    if write:
        _write(heading, rows, faults, is_quick=sizes is QUICK)
    return not faults


def _machine() -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"{processor_name()}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}, {packages}",
    ]


def _write(heading: list[str], rows: list[Row], faults: list[str], *, is_quick: bool) -> None:
    command = "python -m tests.bench --write" + " --quick" * is_quick
    facts = "\n".join(f"- {line}" for line in (*heading, *faults))
    text = (
        f"# Benchmarks\n\nWritten by `{command}`; numbers of one run on one machine.\n\n{facts}\n\n{markdown(rows)}\n"
    )
    _RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    bench()
