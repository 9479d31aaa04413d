"""Every fault of the result table, in its order."""

from __future__ import annotations

from typing import Final

from tests.chaos.faults import backlog, brokers, workers
from tests.chaos.rows import Row

ROWS: Final[tuple[Row, ...]] = (*workers.ROWS, *brokers.ROWS, *backlog.ROWS)
