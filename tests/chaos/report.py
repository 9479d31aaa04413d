"""RESULTS.md: what runs have printed, part by part; never edited by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.rows import Findings, Row

RESULTS: Final = Path(__file__).with_name("RESULTS.md")

_TITLE: Final = "# What the fleet survives"
_PARTS: Final = ("smoke", "chaos", "soak", "faults")
_ROW: Final = re.compile(r"^\| ([A-Z]\d+[^|]*?) \|")
_COLUMNS: Final = "| | fault | must hold | accepted | lost | repeated | found | verdict | known of doing without |"


def write(part: str, lines: Iterable[str]) -> None:
    """Write a part anew, and leave the others as they are."""
    parts = _read() | {part: "\n".join(lines)}
    texts = (f"## {name}\n\n{parts[name]}\n" for name in _PARTS if name in parts)
    RESULTS.write_text("\n".join((f"{_TITLE}\n", *texts)), encoding="utf-8")


def write_rows(rows: Sequence[Row], found: Mapping[str, Findings]) -> None:
    """Write the rows that were run anew, and leave the others as they are."""
    before = {match[1]: line for line in _read().get("faults", "").splitlines() if (match := _ROW.match(line))}
    lines = before | {row.number: _line(row, found[row.number]) for row in rows if row.number in found}
    table = [lines[row.number] for row in rows if row.number in lines]
    write("faults", [_COLUMNS, "|---|---|---|--:|--:|--:|---|---|---|", *table])


def _line(row: Row, found: Findings) -> str:
    facts = ", ".join(f"{name}: {value}" for name, value in found.facts.items())
    counts = (found.accepted, found.lost, found.duplicated)
    verdict = "; ".join(found.problems) or "holds"
    cells = (row.number, row.fault, row.limit, *counts, facts or "-", verdict, row.otherwise or "-")
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _read() -> dict[str, str]:
    """Return the parts there are."""
    if not RESULTS.exists():
        return {}
    _, *parts = RESULTS.read_text(encoding="utf-8").split("\n## ")
    named = (part.partition("\n\n") for part in parts)
    return {name: text.strip("\n") for name, _, text in named}
