"""Servers with replicas, and fleets whose state is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dispatcher import Dispatcher, Feedback, Settings
from dispatcher.dev.children import poll
from dispatcher.dev.stack import Stack
from tests.replication.link import LaggingLink
from tests.replication.servers import Cluster, Pair, Watched

AddEnqueueSettings = Callable[[Path, str], None]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Return a master with a replica behind a link that can be slow."""
    with LaggingLink() as link:
        servers = Pair(tmp_path / "pair", link)
        yield servers
        servers.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Return a master and a replica that three Sentinels watch."""
    servers = Watched(tmp_path / "watched")
    yield servers
    servers.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster of three masters, the first with a replica."""
    servers = Cluster(tmp_path / "cluster")
    yield servers
    servers.close()


class Fleet:
    """A stack whose state may be anywhere."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.push = Dispatcher(Settings.from_env(stack.env))

    def requests(self) -> list[dict[str, Any]]:
        """Return every request that the simulator has seen, in order."""
        if not self.stack.simulator_requests.exists():
            return []
        whole_lines = self.stack.simulator_requests.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole_lines.splitlines()]

    def feedback(self, group: str, wanted: int, *, within_s: float = 60.0) -> list[Feedback]:
        """Read and acknowledge feedback until so many notifications are known to have ended."""
        reader, found = self.push.feedback(group), list[Feedback]()

        def is_complete() -> bool:
            records = reader.read(count=1000)
            reader.ack(*records)
            found.extend(records)
            return len({record.apns_id for record in found}) >= wanted

        assert poll(is_complete, within_s=within_s), f"{len(found)} of {wanted}; {self.describe()}"
        return found

    def describe(self) -> str:
        """Say where things stand, for a failed wait."""
        logs = {child.name: child.last_lines(5) for child in self.stack.children}
        return f"{len(self.requests())} requests, logs {logs}"


@pytest.fixture
def start_fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Return a function that starts a whole fleet, with lines for the section [enqueue] of its configuration."""
    with ExitStack() as stacks:

        def start(*, enqueue: str = "", **options: Any) -> Fleet:
            stack = Stack(tmp_path / "stack", **options)
            stacks.callback(stack.stop)
            stack.start_servers()
            with stack.config.open("a", encoding="utf-8") as config:
                config.write(f"\n[enqueue]\n{enqueue}\n")
            stack.start_workers()
            fleet = Fleet(stack)
            stacks.callback(fleet.push.close)
            return fleet

        yield start
