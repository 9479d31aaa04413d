"""A master that Sentinels watch dies under load: workers and producers go on by themselves, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from dispatcher.dev.servers import Servers
from dispatcher.dev.stack import Stack
from tests.replication.conftest import running
from tests.replication.failing import happen_under_load
from tests.replication.servers import Watched


def test_the_state_fails_over(watched: Watched, tmp_path: Path) -> None:
    """A replica takes over; with one waited for, everything accepted has one end, and tokens stay one per window."""
    stack = Stack(tmp_path / "stack", servers=Servers(state_url=watched.url))
    with running(stack, enqueue="wait_for_replicas = 1\nreplica_timeout_ms = 900") as fleet:
        result = happen_under_load(fleet, watched.master.child.kill, watched.has_failed_over)
    print(f"state on Sentinels: {result}")  # noqa: T201  (measured)


def test_the_broker_fails_over_too(watched: Watched, tmp_path: Path) -> None:
    """With broker and state in one group its failover loses nothing either: markers find what queues have lost."""
    stack = Stack(tmp_path / "stack", servers=Servers(broker_url=watched.url, state_url=watched.url))
    with running(stack, enqueue="wait_for_replicas = 1\nreplica_timeout_ms = 900") as fleet:
        result = happen_under_load(fleet, watched.master.child.kill, watched.has_failed_over)
    print(f"broker and state on Sentinels: {result}")  # noqa: T201  (measured)
