"""Write RESULTS.md: what each misbehaviour costs on each implementation. `python -m tests.contract.results`.

Never edited by hand. The same rows are asserted by `test_misbehaviour`; this shows them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from tests.contract.behaviours import PUSHES
from tests.contract.conftest import Stage, make_tls_files
from tests.contract.misbehaviour import CASES, Case, Tally, run
from workers.transport.choice import TRANSPORTS

RESULTS_FILE: Final = Path(__file__).with_name("RESULTS.md")

_COLUMNS: Final = ("sent", "seen", "answered", "maybe sent", "not sent", "duplicated")

_HEADING: Final = f"""\
# What a server can do to a sender

Written by `python -m tests.contract.results`. In each row {PUSHES} pushes are sent at once
on a connection that has proven itself, to a real HTTP/2 server over TLS that misbehaves on that connection.

| column | meaning |
|---|---|
| sent | pushes asked for |
| seen | whole requests at the server that it has not disclaimed by GOAWAY or REFUSED_STREAM |
| answered | pushes that ended with an answer, whatever it says |
| maybe sent | pushes that ended in silence and may have been processed: tried again, they may arrive twice |
| not sent | pushes that certainly were not processed |
| duplicated | requests seen more than once |
"""


def _cells(tally: Tally) -> tuple[int, ...]:
    return (PUSHES, tally.seen, tally.answered, tally.maybe_sent, tally.not_sent, tally.duplicated)


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _table(tallies: dict[tuple[str, str], Tally]) -> Iterator[str]:
    headings = [f"{implementation}: {column}" for implementation in TRANSPORTS for column in _COLUMNS]
    yield _line("the server ...", *headings)
    yield _line("---", *("--:" for _ in headings))
    for case in CASES:
        found = [tallies[case.name, implementation] for implementation in TRANSPORTS]
        yield _line(case.name, *(cell for tally in found for cell in _cells(tally)))


def _shortfalls(tallies: dict[tuple[str, str], Tally]) -> Iterator[str]:
    """Yield what is not as it should be, in words."""
    for case in CASES:
        for implementation in TRANSPORTS:
            if tallies[case.name, implementation] != case.expected:
                reason = case.beyond.get(implementation, "not expected: a fault")
                yield f'- {implementation}, "{case.name}": {case.expected.answered} should be answered. {reason}.'


async def _run_all(stages: dict[str, Stage]) -> dict[tuple[str, str], Tally]:
    async def one(case: Case, implementation: str) -> Tally:
        return await run(case, stages[implementation])

    return {(case.name, implementation): await one(case, implementation) for case in CASES for implementation in stages}


def write() -> None:
    """Run every case on every implementation and write the file."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with TemporaryDirectory() as folder:
        tls = make_tls_files(Path(folder))
        stages = {name: Stage(tls=tls, make=make) for name, make in TRANSPORTS.items()}
        tallies = asyncio.run(_run_all(stages))
    shortfalls = list(_shortfalls(tallies)) or ["Nothing."]
    lines = [_HEADING, *_table(tallies), "", "What falls short:", "", *shortfalls]
    RESULTS_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
