"""Every fault of the result table, in its order."""

from __future__ import annotations

from typing import Final

from tests.chaos.faults import answers, connections, reaching, workers
from tests.chaos.rows import Row

ROWS: Final[tuple[Row, ...]] = (*workers.ROWS, *connections.ROWS, *reaching.ROWS, *answers.ROWS)
