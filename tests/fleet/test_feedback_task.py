"""A web app's own stock Celery worker hears how its notifications ended, and misses nothing when it is killed."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from dispatcher import Lane, ids, redis_keys, streams
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard
from dispatcher.dev.simulator.device_tokens import UNREGISTERED_AT, Form, special_device_token

APP: Final = "com.example.app"
GROUP: Final = streams.task_group(APP)
ABANDONED_MS: Final = streams.ABANDONED_MS + 1000
SHOP: Final = """
import json, os, pathlib, time
from celery import Celery
from dispatcher import Dispatcher, Feedback

here = pathlib.Path(__file__).parent
app = Celery("shop", broker=os.environ["APNS_BROKER_URL"])
push = Dispatcher.from_env()

@app.task(name="shop.on_push_feedback")
@push.feedback_handler
def on_push_feedback(records: list[Feedback]) -> None:
    with (here / "heard.jsonl").open("a") as file:
        for record in records:
            told = [type(record).__name__, record.apns_id, record.outcome, record.registered_before.timestamp()]
            file.write(json.dumps(told) + "\\n")
    while (here / "stall").exists():
        time.sleep(0.05)
"""


class Shop:
    """A web app with a Celery worker of its own.

    Attributes:
        stall: While this file exists its feedback task does not return.
    """

    def __init__(self, directory: Path, guard: Guard, env: dict[str, str]) -> None:
        directory.mkdir()
        (directory / "shop.py").write_text(SHOP, encoding="utf-8")
        self.stall = directory / "stall"
        self._directory = directory
        self._guard = guard
        self._env = env
        self._workers: list[Child] = []

    def start_worker(self) -> Child:
        """Start its worker as Celery starts one by default."""
        command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "1"]
        log = self._directory / "shop.log"
        worker = self._guard.start("shop", command, log=log, env=self._env, directory=self._directory)
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        """End its workers."""
        self._guard.stop(self._workers, within_s=10.0)

    def heard(self) -> list[tuple[Any, ...]]:
        """Return everything that its task was given, in order."""
        lines = self._directory / "heard.jsonl"
        return [tuple(json.loads(line)) for line in lines.read_text().splitlines()] if lines.exists() else []


@pytest.fixture
def shop(fleet: Any, tmp_path: Path) -> Iterator[Shop]:
    """Return a web app that wants to hear by its task."""
    config: Path = fleet.stack.config
    table = f'[apps."{APP}"]\n'
    text = config.read_text(encoding="utf-8").replace(table, table + 'feedback_task = "shop.on_push_feedback"\n')
    config.write_text(text, encoding="utf-8")
    with Guard() as guard:
        running = Shop(tmp_path / "shop", guard, programs.environment(fleet.stack.env))
        yield running
        running.stop()


def unacknowledged(fleet: Any) -> list[tuple[str, bytes]]:
    """Return stream and entry of what the shop was given and did not acknowledge."""
    found = []
    for shard in range(ids.SHARDS):
        stream = redis_keys.feedback(shard)
        if fleet.state.exists(stream):
            entries = fleet.state.xpending_range(stream, GROUP, "-", "+", 1000)
            found += [(stream, entry["message_id"]) for entry in entries]
    return found


def test_a_killed_shop_misses_nothing(fleet: Any, shop: Shop) -> None:
    """Feedback waits for the shop; what its killed worker had not finished comes again, what it had does not."""
    device_tokens = [special_device_token(Form.UNREGISTERED, number) for number in range(150)]
    fleet.stack.start_worker(Lane.ALERT)
    payload = {"aps": {"alert": "hi"}}
    (batch,) = fleet.push.send_many(APP, device_tokens, payload=payload, push_type="alert").batches
    told = {
        ("Feedback", ids.apns_id_of(batch.batch_id, index), "unregistered", UNREGISTERED_AT / 1000)
        for index in range(150)
    }
    fleet.wait_for(lambda: fleet.state.llen("celery") == 1)
    message = json.loads(fleet.state.lrange("celery", 0, -1)[0])
    assert json.loads(b64decode(message["body"]))[0] == [APP], "it only calls; records are never in a message"
    fleet.wait_until_settled()

    shop.stall.touch()
    worker = shop.start_worker()
    fleet.wait_for(shop.heard)
    worker.kill()
    shop.stall.unlink()
    interrupted = shop.heard()
    left = unacknowledged(fleet)
    assert 0 < len(interrupted) == len(left) < 150

    for stream, entry in left:  # as they are by themselves after a minute
        fleet.state.xclaim(stream, GROUP, "task", 0, [entry], idle=ABANDONED_MS)
    shop.start_worker()
    fleet.wait_for(lambda: set(shop.heard()) == told and not unacknowledged(fleet))
    times = Counter(shop.heard())
    assert {record for record, number in times.items() if number == 2} == set(interrupted)
    assert sum(times.values()) == 150 + len(interrupted)
