"""Everything that a fleet does, done once, each part in its own role."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import redis
from click.testing import CliRunner

from dispatcher import Cancellation, Dispatcher, Lane, Notification, Report, Settings, ids, redis_keys, routing
from dispatcher.cli import apns
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token
from dispatcher.dev.simulator.world import key_file
from dispatcher.dev.stack import Stack
from dispatcher.dev.users import Role
from tests.fleet.conftest import Fleet
from tests.fleet.test_stop_before_harm import write_wrong_key

APP: Final = "com.example.app"
#: Its signing key is wrong at first.
THIRD: Final = "com.example.third"
PAYLOAD: Final = {"aps": {"alert": "hi"}}
#: The web app's own queue, Celery's default, where its feedback task is called.
FEEDBACK_QUEUE: Final = "celery"
LATER_S: Final = 3600.0
_TASK: Final = "shop.on_push_feedback"
_SHOP: Final = """
import os, pathlib
from celery import Celery
from dispatcher import Dispatcher, Feedback

heard = pathlib.Path(__file__).parent / "heard"
app = Celery("shop", broker=os.environ["APNS_BROKER_URL"])
app.conf.worker_enable_remote_control = False
push = Dispatcher.from_env()

@app.task(name="shop.on_push_feedback")
@push.feedback_handler
def on_push_feedback(records: list[Feedback]) -> None:
    with heard.open("a") as file:
        file.writelines(record.apns_id + "\\n" for record in records)
"""


class Everybody:
    """A whole fleet, its web app, its operator and its onlookers."""

    def __init__(self, stack: Stack, directory: Path, guard: Guard) -> None:
        self.fleet = Fleet(stack)
        self._stack = stack
        self._directory = directory
        self._guard = guard
        self._clock_s = 0.0
        self._others: list[Child] = []
        self._numbers = count(100)
        self._parked: dict[int, str] = {}
        self.cancelled: set[str] = set()

    def work(self) -> None:
        """Do everything, and wait until nothing is left to do."""
        self._start()
        self._push_of_every_kind()
        self._recover_from_a_wrong_key()
        self._ask_and_cancel()
        self._park_and_resume()
        self._lose_messages()
        self._lose_workers()
        self._look_at_the_dead()
        self._survive_garbage()
        self._hear_back()
        self._look_on()

    def close(self) -> None:
        """End everything that this started."""
        self._guard.stop(self._others, within_s=10)
        self.fleet.close()

    def command(self, *arguments: str) -> str:
        """Run a command of the operator's and return what it says."""
        done = CliRunner(env=self._stack.env_of(Role.OPERATOR)).invoke(apns, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def connect(self, role: Role) -> Any:
        """Return a plain connection of a role's, which is closed with the test."""
        return redis.Redis.from_url(self._stack.env_of(role)["APNS_BROKER_URL"])

    def _start(self) -> None:
        config = self._stack.config
        table = f'[apps."{APP}"]\n'
        text = config.read_text(encoding="utf-8").replace(table, f'{table}feedback_task = "{_TASK}"\n')
        config.write_text(text, encoding="utf-8")
        self._key = config.parent / key_file("KEYTEAMBBB")
        self._right_key = self._key.read_bytes()
        write_wrong_key(self._key)
        self.fleet.push.send_many(THIRD, _devices(4), payload=PAYLOAD, push_type="alert")
        self._start_shop()
        self._viewer_port = free_port()
        viewer = programs.flower(self._viewer_port)
        self._launch("viewer", viewer, Role.VIEWER, self._directory)
        self._stack.start_workers()

    def _start_shop(self) -> None:
        shop = self._directory / "shop"
        shop.mkdir()
        (shop / "shop.py").write_text(_SHOP, encoding="utf-8")
        command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "1", "-P", "solo", "--without-mingle", "--without-gossip"]
        self._launch("shop", command, Role.FEEDBACK, shop)

    def _launch(self, name: str, command: list[str], role: Role, directory: Path) -> None:
        log, env = self._stack.directory / f"{name}.log", programs.environment(self._stack.env_of(role))
        self._others.append(self._guard.start(name, command, log=log, env=env, directory=directory))

    def _push_of_every_kind(self) -> None:
        push = self.fleet.push
        push.alert(APP, device_token(1), title="hi", idempotency_key="one", track=True)
        push.alert(APP, device_token(1), title="hi", idempotency_key="one", track=True)
        push.alert(APP, special_device_token(Form.BAD, 2), title="hi")
        push.voip(APP, device_token(3), {"call": 1})
        push.voip(APP, special_device_token(Form.SERVICE_UNAVAILABLE, 4, 1), {"call": 2})
        bulk = [*_devices(600), special_device_token(Form.UNREGISTERED, 5)]
        bulk += [special_device_token(Form.TOO_MANY_REQUESTS, 6, 1)]
        push.send_many(APP, bulk, payload=PAYLOAD, push_type="alert", report=Report.EVERYTHING)
        push.alert(APP, special_device_token(Form.INTERNAL_SERVER_ERROR, 7), title="it dies")
        push.background(APP, special_device_token(Form.INTERNAL_SERVER_ERROR, 8), {"dies": 1})
        push.send_many(APP, _devices(20), payload={"aps": {"content-available": 1}}, push_type="background")
        for version in (2, 3, 1):
            push.background(APP, device_token(9), {"version": version}, version=version, hold_for=LATER_S)
        push.background(
            APP, device_token(10), {"late": 1}, send_at=_in(1.0), track=True, idempotency_key="two", expires_in=60
        )
        push.alert(APP, device_token(12), title="later", send_at=_in(1.0))
        push.device_online(APP, device_token(9))
        push.device_online(APP, device_token(10), fetched=True)
        self.fleet.wait_for(lambda: self.fleet.counters("dead_lettered") == 2)

    def _recover_from_a_wrong_key(self) -> None:
        scope = "*|*|KEYTEAMBBB"
        self.fleet.wait_for(lambda: b'"probes":0' not in (self._admin.hget(redis_keys.paused(), scope) or b'"probes":0'))
        self._key.write_bytes(self._right_key)
        self.fleet.wait_until_settled()
        self.fleet.wait_for(lambda: not self._admin.exists(redis_keys.paused()))

    def _ask_and_cancel(self) -> None:
        push = self.fleet.push
        late = push.alert(APP, device_token(21), title="cancelled", send_at=_in(LATER_S), track=True)
        held = push.background(APP, device_token(22), {"cancelled": 1}, hold_for=LATER_S, track=True)
        done = push.alert(APP, device_token(23), title="hi", track=True)
        self.fleet.wait_for(lambda: push.status(done.apns_id).state == "ended")
        for receipt in (late, held):
            assert push.status(receipt.apns_id) is not None
            assert "com" not in self.command("status", receipt.apns_id)
            assert push.cancel(receipt.apns_id) is Cancellation.CANCELLED
            assert push.status(receipt.apns_id).outcome == "cancelled"
            self.cancelled.add(receipt.apns_id)
        again = push.background(APP, device_token(22), {"cancelled": 2}, hold_for=LATER_S)
        self.command("cancel", again.apns_id)
        self.cancelled.add(again.apns_id)

    def _park_and_resume(self) -> None:
        push = self.fleet.push
        self.command("pause", "--app", APP)
        self.command("pauses")
        self.fleet.wait_for(self._parks_what_comes)
        updated, fetched, *_ = self._parked_numbers()
        push.background(APP, device_token(updated), {"parked": 2})
        push.device_online(APP, device_token(fetched), fetched=True)
        self.command("resume", "--app", APP)
        self.fleet.wait_until_settled()

    def _parks_what_comes(self) -> bool:
        """Push more; tell whether the workers have heard of the pause and parked some of all."""
        number = next(self._numbers)
        self.fleet.push.alert(APP, device_token(number), title="parked")
        receipt = self.fleet.push.background(APP, device_token(number), {"parked": 1})
        self._parked[number] = receipt.apns_id
        return len(self._keys("*:parked:*")) > 0 and len(self._parked_numbers()) > 1

    def _parked_numbers(self) -> list[int]:
        """Return the devices whose notifications are parked."""
        found = {number: self.fleet.push.status(apns_id) for number, apns_id in self._parked.items()}
        return [number for number, status in found.items() if status is not None and status.state == "parked"]

    def _lose_messages(self) -> None:
        """Accept what no broker hears of: a marker finds it."""
        env = self._stack.env
        broken = {**env, "APNS_STATE_URL": env["APNS_BROKER_URL"], "APNS_BROKER_URL": f"redis://{HOST}:1/0"}
        with Dispatcher(Settings.from_env(broken)) as push:
            assert not push.alert(APP, device_token(41), title="lost").queued
        self._advance(10)
        self.fleet.wait_until_settled()

    def _lose_workers(self) -> None:
        """Kill workers with pushes in flight, which others take over when their leases have ended."""
        push, lanes = self.fleet.push, (Lane.ALERT, Lane.BACKGROUND)
        with self._answers_held():
            push.send_many(APP, _devices(3), payload=PAYLOAD, push_type="alert")
            self.fleet.wait_for(lambda: self._cancel_in_flight() is Cancellation.BEING_SENT)
            sent = [push.background(APP, device_token(number), {"sync": 1}) for number in range(51, 56)]
            self.fleet.wait_for(lambda: all(push.status(each.apns_id).state == "being_sent" for each in sent))
            assert push.cancel(sent[0].apns_id) is Cancellation.BEING_SENT
            push.background(APP, device_token(52), {"sync": 2})
            push.device_online(APP, device_token(53), fetched=True)
            for child in [each for each in self._stack.children if each.name.split("-")[0] in lanes]:
                child.kill()
        self._stack.revive()
        self._advance(LATER_S)
        self.fleet.wait_until_settled()

    def _cancel_in_flight(self) -> Cancellation:
        push = self.fleet.push
        alert = push.alert(APP, device_token(next(self._numbers)), title="stopped")
        self.fleet.wait_for(lambda: push.status(alert.apns_id).state == "being_sent")
        return push.cancel(alert.apns_id)

    def _look_at_the_dead(self) -> None:
        assert "2 dead letters" in self.command("dead", "list")
        self.command("dead", "show")
        self.command("dead", "replay")
        self.fleet.wait_for(lambda: self.fleet.counters("dead_lettered") == 4)
        self.command("dead", "drop", "--all")
        assert "no dead letters" in self.command("dead", "list")
        self.command("health", "--lane", "alert")

    def _survive_garbage(self) -> None:
        self._admin.lpush("apns.alert", b"garbage", json.dumps({"body": "", "headers": {}}))
        self.fleet.wait_for(lambda: self.fleet.counters("garbage") == 2)

    def _hear_back(self) -> None:
        records = self.fleet.feedback("crm")
        assert records
        heard = self._directory / "shop" / "heard"
        wanted = {record.apns_id for record in records if record.app == APP}
        self.fleet.wait_for(lambda: heard.exists() and wanted <= set(heard.read_text().splitlines()))

    def _look_on(self) -> None:
        """Look at the pages of both Flowers, and ask what the exporter asks."""
        for path in ("/workers?refresh=1", "/tasks", "/broker"):
            _get(f"{self._stack.flower_url}{path}")
            _get(f"http://{HOST}:{self._viewer_port}{path}")
        with self.connect(Role.EXPORTER) as exporter:
            exporter.ping()
            exporter.info()
            exporter.time()
            for ask in _questions(exporter):
                ask()

    @property
    def _admin(self) -> Any:
        return self.fleet.state

    def _keys(self, pattern: str) -> list[bytes]:
        return list(self._admin.scan_iter(pattern, count=1000))

    def _advance(self, seconds: float) -> None:
        self._clock_s += seconds
        for shard in range(ids.SHARDS):
            self._admin.set(redis_keys.clock(shard), self._clock_s)

    @contextmanager
    def _answers_held(self) -> Iterator[None]:
        self.fleet.hold_answers()
        try:
            yield
        finally:
            self.fleet.release_answers()


def _devices(number: int) -> list[str]:
    return [device_token(1000 + each) for each in range(number)]


def _in(seconds: float) -> float:
    return time.time() + seconds


def _get(url: str) -> None:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  our own address
        assert answer.read()


def _questions(exporter: Any) -> Iterator[Callable[[], Any]]:
    """Yield what a reader of the fleet's figures asks of one shard, app and queue."""
    yield partial(exporter.hgetall, redis_keys.counters(0))
    yield partial(exporter.hgetall, redis_keys.paused())
    yield partial(exporter.zrange, redis_keys.workers(), 0, -1, withscores=True)
    for queue in routing.QUEUE_LANES:
        yield partial(exporter.llen, queue)
        yield partial(exporter.hmget, redis_keys.marker(queue), "age")
        yield partial(exporter.zrange, redis_keys.queued(0, queue), 0, 0, withscores=True)
    for lane in Lane:
        yield partial(exporter.zcount, redis_keys.due(0, lane), "-inf", "+inf")
        yield partial(exporter.zcard, redis_keys.leased(0, lane))
        yield partial(exporter.zcard, redis_keys.parked(0, APP, lane))
    yield partial(exporter.zcount, redis_keys.held(0, APP), "-inf", "+inf")
    yield partial(exporter.zcard, redis_keys.slot_leased(0, APP))
    yield partial(exporter.zcard, redis_keys.slot_parked(0, APP))
    yield partial(exporter.xlen, redis_keys.feedback(0))
    yield partial(exporter.xlen, redis_keys.dead(0, APP))
