"""Every fault of the result table, in its order."""

from __future__ import annotations

from typing import Final

from tests.chaos.faults import answers, backlog, brokers, connections, garbage, keys, payloads, reaching, workers
from tests.chaos.rows import Row

_APPLE: Final = (*connections.ROWS, *reaching.ROWS, *answers.ROWS)
_PAYLOADS: Final = (*payloads.ROWS, *garbage.ROWS)


def _number(row: Row) -> int:
    return int("".join(filter(str.isdigit, row.number)))


ROWS: Final[tuple[Row, ...]] = (
    *workers.ROWS,
    *brokers.ROWS,
    *sorted(_APPLE, key=_number),
    *sorted(_PAYLOADS, key=_number),
    *keys.ROWS,
    *backlog.ROWS,
)
