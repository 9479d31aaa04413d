"""A simulated day of background updates: every phone ends with the newest, and none got more than its budget."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, Lane, Settings, ids, redis_keys, slots
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard, poll
from dispatcher.dev.simulator import STRICT, SimulatorThread
from dispatcher.dev.simulator.clock import OffsetClock
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.messages import Publisher, make_celery
from dispatcher.scripts import Clock
from dispatcher.state_server import StateServer

APP: Final = "com.example.app"
DEVICE_TOKENS: Final = [device_token(number) for number in range(500)]
#: From a device that is hardly ever updated to one that is updated all the time, per hour.
RATES: Final = (0.1, 0.3, 1.0, 3.0, 8.0)
PER_HOUR: Final = 3
WORKERS: Final = 2
HOUR_S: Final = 3600.0
STEP_S: Final = 300.0
STEPS: Final = int(24 * HOUR_S / STEP_S)
#: After the last update everything held is due within the budget's spacing, however often it was repeated.
QUIET_STEPS: Final = int(2 * HOUR_S / STEP_S)
#: A worker is killed every so many steps.
KILL_EVERY: Final = 40
SEED: Final = 20_260


class Day:
    """A fleet whose time stands still while there is anything to send, and then makes a step."""

    def __init__(self, directory: Path, state_url: str, running: ExitStack) -> None:
        self.clock = OffsetClock()
        settings = replace(STRICT, requests_remembered=10**6)
        self.apns = running.enter_context(SimulatorThread(directory / "apns", settings=settings, clock=self.clock))
        self.phones = {each: self.apns.phone(each) for each in DEVICE_TOKENS}
        self._env = {
            "APNS_BROKER_URL": state_url,
            "APNS_CONFIG": str(self.apns.config_file),
            "APNS_MODE": "development",
        }
        self.push = running.enter_context(Dispatcher(Settings.from_env(self._env)))
        self._redis: Any = running.enter_context(redis.Redis.from_url(state_url))
        self._state = StateServer(state_url, clock=Clock.SHIFTED, timeout_s=10)
        running.callback(self._state.close)
        self._publisher = Publisher(make_celery(state_url, timeout_s=5))
        running.callback(self._publisher.close)
        self._guard = running.enter_context(Guard())
        self._directory = directory
        self._started = 0
        self.workers: list[Child] = []
        running.callback(self._stop)
        for _ in range(WORKERS):
            self.start_worker()
        assert poll(lambda: self._redis.zcard(redis_keys.workers()) == WORKERS, within_s=60)

    def start_worker(self) -> None:
        """Start one more worker."""
        self._started += 1
        worker = self._guard.start(
            f"background-{self._started}",
            programs.worker(Lane.BACKGROUND, self._started),
            log=self._directory / f"background-{self._started}.log",
            env=programs.environment(self._env),
            directory=self._directory,
        )
        self.workers.append(worker)

    def kill_worker(self) -> None:
        """Kill the oldest worker, whatever it is doing, and start another."""
        self.workers.pop(0).kill()
        self.start_worker()

    def step(self) -> None:
        """Let time pass, and wake the workers for what is due then."""
        self.clock.offset_s += STEP_S
        pipeline = self._redis.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.set(redis_keys.clock(shard), f"{self.clock.offset_s:.3f}")
        pipeline.execute()
        for shard in range(ids.SHARDS):
            wake_ups = self._state.run(slots.sweep(shard, [APP]))
            self._publisher.publish_all(wake_ups)

    def wait_until_idle(self) -> None:
        """Wait until nothing is due; what a dead worker holds is not due before its lease has ended."""
        assert poll(lambda: not self._due(), within_s=30), f"still due: {self._due()}"

    def held(self) -> int:
        """Return how many slots hold something."""
        return sum(1 for _ in self._redis.scan_iter("*:slot:*", count=1000))

    def _due(self) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.zcount(redis_keys.held(shard, APP), "-inf", self.clock())
        return sum(pipeline.execute())

    def _stop(self) -> None:
        self._guard.stop(self.workers, within_s=15)


@pytest.fixture
def day(tmp_path: Path, state_url: str) -> Iterator[Day]:
    """Return a day that has not begun."""
    with ExitStack() as running:
        yield Day(tmp_path, state_url, running)


def live_through(day: Day, dice: random.Random) -> dict[str, int]:
    """Update devices at their rates for a day, and kill workers; returns the newest version of each device."""
    newest: dict[str, int] = {}
    version = 0
    for step in range(STEPS):
        for number, each in enumerate(DEVICE_TOKENS):
            if dice.random() < RATES[number % len(RATES)] * STEP_S / HOUR_S:
                version += 1
                day.push.background(APP, each, {"version": version})
                newest[each] = version
        if step % KILL_EVERY == KILL_EVERY // 2:
            day.kill_worker()  # what it holds is free again when its lease has ended, in the next step
        else:
            day.wait_until_idle()
        day.step()
    for _ in range(QUIET_STEPS):
        day.wait_until_idle()
        day.step()
    return newest


def most_in_an_hour(times: list[float]) -> int:
    """Return how many of some moments lie within one half-open hour at most."""
    return max(sum(first <= each < first + HOUR_S for each in times) for first in times)


def arrivals(day: Day) -> Mapping[str, Mapping[str, list[float]]]:
    """Return when each notification arrived, by device and apns id, in simulated seconds."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for request in day.apns.requests:
        assert (request.status, request.reason) == (200, "")
        found[request.device_token or ""][request.apns_id].append(request.clock)
    return found


@pytest.mark.timeout(600)
def test_a_day_of_background_updates(day: Day) -> None:
    """500 devices, updated up to eight times an hour, two workers of which one is killed now and then.

    Each phone has handed the newest update to its app last, none in the wrong order, and no phone got more than its
    budget in any hour, so that it held nothing back itself.
    """
    newest = live_through(day, random.Random(SEED))  # noqa: S311  dice, no secrets
    assert day.held() == 0
    received = {
        each: [json.loads(push.payload)["version"] for push in phone.received] for each, phone in day.phones.items()
    }
    assert {each: versions[-1] for each, versions in received.items() if versions} == newest
    assert all(versions == sorted(versions) for versions in received.values()), "never an older one after a newer one"
    arrived = arrivals(day)
    most = max(most_in_an_hour([min(times) for times in sent.values()]) for sent in arrived.values())
    assert most == PER_HOUR, "the budget is used, and never exceeded"
    repeated = {each for each, sent in arrived.items() if any(len(times) > 1 for times in sent.values())}
    held_back = {each for each, phone in day.phones.items() if phone.dropped or phone.held_background}
    assert held_back <= repeated, "only what a killed worker's successor repeated may be too much for a phone"
