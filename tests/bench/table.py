"""Show rows: as a table on a terminal, as plain lines elsewhere, as Markdown in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.results import Row

_COLUMNS: Final = ("what", "median", "min", "max", "", "aim", "met", "note")
_NUMBERS: Final = frozenset({"median", "min", "max", "aim"})


def show(rows: Sequence[Row], console: Console) -> None:
    """Print rows."""
    if console.is_terminal:
        console.print(_table(rows))
        return
    for line in _aligned([_COLUMNS, *map(cells, rows)]):
        console.print(line, soft_wrap=True, markup=False)


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    rulers = ["---:" if column in _NUMBERS else "---" for column in _COLUMNS]
    return "\n".join("| " + " | ".join(line) + " |" for line in (_COLUMNS, rulers, *map(cells, rows)))


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells."""
    aim = "" if row.aim is None else _number(row.aim)
    is_met = "" if row.aim is None else {True: "yes", False: "no"}[row.is_met]
    numbers = (_number(row.median), _number(min(row.values)), _number(max(row.values)))
    return (row.what, *numbers, row.unit.value, aim, is_met, row.note)


def _number(value: float) -> str:
    """Return a number with about three digits."""
    digits = next((digits for limit, digits in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{value:,.{digits}f}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for row in rows:
        table.add_row(*cells(row))
    return table


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        places = zip(_COLUMNS, line, widths, strict=True)
        yield "  ".join(
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width) for column, cell, width in places
        ).rstrip()
