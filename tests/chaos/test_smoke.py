"""The rig's shortest run: load, kills and bad networks for a minute and a half, and every record agrees afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher import Outcome
from tests.chaos import profiles

SEED = 20_261


@pytest.mark.timeout(300)
def test_smoke(tmp_path: Path) -> None:
    """Nothing is lost, late or repeated without a cause, whatever is done to the fleet."""
    result = profiles.run(profiles.SMOKE, tmp_path / "rig", seed=SEED)
    assert result.faults == ()
    assert result.exits == ()
    assert result.account.accepted > profiles.SMOKE.rate * profiles.SMOKE.seconds * 0.6
    assert set(result.account.outcomes) <= {Outcome.DELIVERED, Outcome.SUPERSEDED, Outcome.EXPIRED}
