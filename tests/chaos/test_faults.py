"""Every fault of the result table holds; the slow ones are part of the long profile only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.faults import ROWS
from tests.chaos.rows import Row

IS_LONG: Final = os.environ.get("APNS_LONG") == "1"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("row", [row for row in ROWS if row.is_quick or IS_LONG], ids=lambda row: row.number)
def test_fault(row: Row, tmp_path: Path) -> None:
    """What must hold when this is done to the fleet does."""
    assert row.run(tmp_path / "rig").problems == ()
