"""The chaos rig's shortest run with RabbitMQ as broker: every record agrees afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher import Outcome
from tests.chaos import profiles
from tests.rabbitmq.node import CHAOS_VHOST, Node

SEED = 20_262


@pytest.mark.timeout(300)
def test_smoke_on_rabbitmq(node: Node, tmp_path: Path) -> None:
    """Nothing is lost, late or repeated without a cause, though broker and state server are shaken one by one."""
    broker_url = node.url_at(node.port, vhost=CHAOS_VHOST)
    result = profiles.run(profiles.RABBITMQ, tmp_path / "rig", seed=SEED, broker_url=broker_url)
    assert result.faults == ()
    assert result.exits == ()
    assert set(result.account.outcomes) <= {Outcome.DELIVERED, Outcome.SUPERSEDED, Outcome.EXPIRED}
