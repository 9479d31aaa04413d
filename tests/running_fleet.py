"""A whole fleet that a test drives: real state server, real Celery workers, real HTTP/2 over TLS to the simulator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from dispatcher import Dispatcher, Feedback, Settings, ids, redis_keys
from dispatcher.dev.children import poll
from dispatcher.dev.servers import Servers
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack

APP = "com.example.app"
_OWN = Servers()


class Fleet:
    """A stack whose workers a test starts and ends as it likes."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.push = Dispatcher(Settings.from_env(stack.env))
        self.state: Any = redis.Redis.from_url(stack.server.url)  # replies are bytes, which annotations leave open
        self._forgotten = 0
        self._counted_before: Counter[str] = Counter()

    def requests(self) -> list[dict[str, Any]]:
        """Return every request that the simulator has seen since the warm-up, in order."""
        if not self.stack.simulator_requests.exists():
            return []
        whole_lines = self.stack.simulator_requests.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole_lines.splitlines()[self._forgotten :]]

    def seen(self) -> Counter[str]:
        """Return how often the simulator has seen each apns id."""
        return Counter(request["apns_id"] for request in self.requests())

    def counters(self, event: str) -> int:
        """Return how often something was counted since the warm-up, over all apps, lanes and details."""
        return self._count_all()[event] - self._counted_before[event]

    def warm_up(self, push_type: str, number: int) -> None:
        """Let the workers send so many pushes, so that as many may be in flight, and forget them."""
        payload = {"aps": {"alert": "warm"}}
        device_tokens = (device_token(10**6 + each) for each in range(number))
        self.push.send_many(APP, device_tokens, payload=payload, push_type=push_type)
        self.wait_until_settled()
        self.forget()

    def forget(self) -> None:
        """Forget what the simulator has seen and what was counted until now."""
        self._forgotten += len(self.requests())
        self._counted_before = self._count_all()

    def wait_for(self, is_so: Callable[[], bool], *, within_s: float = 30.0) -> None:
        """Wait until something is so."""
        assert poll(is_so, within_s=within_s), self.describe()

    def wait_for_requests(self, number: int, *, within_s: float = 30.0) -> None:
        """Wait until the simulator has seen so many different notifications."""
        self.wait_for(lambda: len(self.seen()) >= number, within_s=within_s)

    def wait_until_settled(self, *, within_s: float = 30.0) -> None:
        """Wait until nothing is left in the outbox and the slots."""
        self.wait_for(lambda: not self.unsettled(), within_s=within_s)

    def unsettled(self) -> list[str]:
        """Return the keys of everything that is accepted and not settled."""
        patterns = ("*:batch:*", "*:slot:*", "*:claim:*")
        return [key.decode() for pattern in patterns for key in self.state.scan_iter(pattern, count=1000)]

    def feedback(self, group: str = "test") -> list[Feedback]:
        """Read and acknowledge what feedback there is."""
        reader = self.push.feedback(group)
        records = reader.read(count=10_000)
        reader.ack(*records)
        return records

    def hold_answers(self) -> None:
        """Let the simulator hold back its answers, from now on."""
        self.stack.hold_file.touch()
        self.wait_for(lambda: self.stack.hold_file.read_text(encoding="utf-8") == "held")

    def release_answers(self) -> None:
        """Let the simulator answer."""
        self.stack.hold_file.unlink()

    def describe(self) -> str:
        """Say where things stand, for a failed wait."""
        logs = {child.name: child.last_lines(5) for child in self.stack.children}
        return f"{len(self.requests())} requests, left {self.unsettled()[:9]}, logs {logs}"

    def _count_all(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for shard in range(ids.SHARDS):
            for field, count in self.state.hgetall(redis_keys.counters(shard)).items():
                total[field.decode().split("|")[0]] += int(count)
        return total

    def close(self) -> None:
        """Close every connection."""
        self.push.close()
        self.state.close()


@contextmanager
def watched_fleet(directory: Path, *, servers: Servers = _OWN) -> Iterator[Fleet]:
    """Run a whole fleet with Flower, whose API is open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
        with Stack(directory, flower=True, servers=servers) as stack:
            running = Fleet(stack)
            try:
                yield running
            finally:
                running.close()
