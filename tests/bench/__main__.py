"""The benchmarks: `python -m tests.bench`.

Processor time of exactly the process under test, peers in turn in the same run, counts compared at both ends. Numbers
of different machines or hours do not compare; ratios of one run do.

Senders of others take part in the benchmark `transport` when their commands are given, as `tests.bench.peers` says:
`python -m tests.bench --only transport --peer 'h2load=h2load -n {count} ...'`.
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
from tests.bench.peers import PLACEHOLDERS, Peer
from tests.bench.processor import calibrate, is_supported, processor_name
from tests.bench.results import Row, VoidError
from tests.bench.scenarios import SCENARIOS, with_peers
from tests.bench.sizes import FULL, QUICK, Sizes
from tests.bench.table import markdown, show

_RESULTS: Final = Path(__file__).with_name("RESULTS.md")
_PACKAGES: Final = ("celery", "redis", "aioapns", "h2")


_PEER_HELP: Final = "A sender of others to compare with, and the command that runs it; may be repeated."
_EPILOG: Final = "\n".join(
    (
        "\b",
        "The command of a peer sends {count} pushes, waits for the answers, and may hold:",
        *(f"  {{{name}}}".ljust(14) + meaning for name, meaning in PLACEHOLDERS.items()),
        "It runs without a shell, first with few pushes and then with many: the difference counts.",
        "tests/bench/peers.py has an example.",
    )
)


def _read_peers(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> list[Peer]:
    try:
        return [Peer.parse(text) for text in texts]
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


@click.command(epilog=_EPILOG)
@click.option("--quick", is_flag=True, help="Small sizes, for a first impression.")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="One benchmark; may be repeated.")
@click.option("--peer", "peers", multiple=True, metavar="NAME=COMMAND", callback=_read_peers, help=_PEER_HELP)
@click.option("--write", is_flag=True, help=f"Write the table to {_RESULTS.name} beside this module, too.")
def bench(*, quick: bool, only: tuple[str, ...], peers: list[Peer], write: bool) -> None:
    """Measure what enqueuing and sending cost on this machine."""
    if not is_supported():
        raise click.ClickException("the benchmarks need Linux: they count processor time by /proc")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with interruptible():
            is_complete = _bench(QUICK if quick else FULL, only or SCENARIOS, peers, write=write)
    except Interruption as exc:
        sys.exit(exc.exit_code)
    sys.exit(not is_complete)


def _bench(sizes: Sizes, names: Iterable[str], peers: Iterable[Peer], *, write: bool) -> bool:
    """Run benchmarks and show what they found; returns whether every run counts."""
    progress, console = Console(stderr=True, highlight=False), Console(highlight=False)
    rows: list[Row] = []
    faults: list[str] = []
    scenarios = with_peers(_installed(peers, progress))
    before_ms, load = calibrate(), os.getloadavg()[0]
    for name in names:
        progress.print(f"measuring: {name}")
        try:
            rows += scenarios[name](sizes)
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


def _installed(peers: Iterable[Peer], progress: Console) -> list[Peer]:
    """Leave out the peers whose programs are not there, and say so."""
    found = []
    for peer in peers:
        if peer.is_installed:
            found.append(peer)
        else:
            progress.print(f"left out: {peer.name}, {peer.command[0]} is not installed", markup=False)
    return found


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
