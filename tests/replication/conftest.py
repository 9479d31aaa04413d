"""Servers with replicas, and fleets whose state is there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher import Dispatcher, Feedback, Settings, ids, redis_keys
from dispatcher.dev.children import poll
from dispatcher.dev.stack import Stack
from dispatcher.state_server import StateServer
from tests.replication.link import LaggingLink
from tests.replication.servers import Pair, Watched


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

    def feedback(self, group: str, wanted: Collection[str], *, within_s: float = 60.0) -> list[Feedback]:
        """Read and acknowledge feedback until these notifications are known to have ended."""
        reader, found = self.push.feedback(group), list[Feedback]()

        def is_complete() -> bool:
            records = reader.read(count=1000)
            reader.ack(*records)
            found.extend(records)
            return {record.apns_id for record in found} >= set(wanted)

        assert poll(is_complete, within_s=within_s), f"{len(found)} of {len(wanted)}; {self.describe()}"
        return found

    def advance(self, seconds: float) -> None:
        """Let time pass for the fleet; the simulator's goes on as it does."""
        state = StateServer.of(Settings.from_env(self.stack.env))
        state.ask_each(
            lambda pipeline, shard: pipeline.incrbyfloat(redis_keys.clock(shard), seconds), range(ids.SHARDS)
        )
        state.close()

    def describe(self) -> str:
        """Say where things stand, for a failed wait."""
        logs = {child.name: child.last_lines(5) for child in self.stack.children}
        return f"{len(self.requests())} requests, logs {logs}"


@contextmanager
def running(stack: Stack, *, enqueue: str = "") -> Iterator[Fleet]:
    """Run a whole fleet, with lines for the section [enqueue] of its configuration."""
    with ExitStack() as resources:
        resources.callback(stack.stop)
        stack.start_servers()
        with stack.config.open("a", encoding="utf-8") as config:
            config.write(f"\n[enqueue]\n{enqueue}\n")
        stack.start_workers()
        fleet = Fleet(stack)
        resources.callback(fleet.push.close)
        yield fleet
