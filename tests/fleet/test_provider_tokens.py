"""One provider token for the whole fleet, though nobody hands it round."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from dispatcher import Lane, ids, redis_keys
from dispatcher.dev import programs
from dispatcher.dev.children import Guard

APP = "com.example.app"
WORKERS = 4
WINDOW_S = 1800
#: Simulated seconds per second: a minute of simulated time is a second of the test's.
SPEED = 60.0
#: The run begins ten minutes before a window ends, and sees two changes.
BEGIN_BEFORE_CHANGE_S = 600
SIMULATED_S = BEGIN_BEFORE_CHANGE_S + WINDOW_S + 1200

#: A worker whose host's clock is five minutes fast, in everything that asks for the time of day.
SKEWED = """
import sys, time
right = time.time
time.time = lambda: right() + 300
sys.argv = ["celery", *sys.argv[1:]]
from celery.__main__ import main
main()
"""


@contextmanager
def skewed_worker(fleet: Any) -> Iterator[None]:
    """Run an alert worker on a host with a wrong clock."""
    command = programs.worker(Lane.ALERT, 99)
    arguments = command[command.index("celery") + 1 :]
    directory = fleet.stack.directory
    with Guard() as guard:
        worker = guard.start(
            "skewed",
            [sys.executable, "-c", SKEWED, *arguments],
            log=directory / "skewed.log",
            env=programs.environment(fleet.stack.env),
            directory=directory,
        )
        fleet.wait_for(lambda: fleet.state.zcard(redis_keys.workers()) == WORKERS)
        yield
        guard.stop([worker], within_s=15)


def set_clock(fleet: Any, offset_s: float) -> None:
    """Move the state server's clock, and with it the simulator's."""
    for shard in range(ids.SHARDS):
        fleet.state.set(redis_keys.clock(shard), f"{offset_s:.3f}")


def let_time_pass(fleet: Any, device_tokens: list[str], first_offset_s: float) -> None:
    """Push steadily while an hour passes in a minute."""
    began = time.monotonic()
    number = 0
    while (passed_s := (time.monotonic() - began) * SPEED) < SIMULATED_S:
        set_clock(fleet, first_offset_s + passed_s)
        fleet.push.alert(APP, device_tokens[number % len(device_tokens)], title="Hello")
        number += 1


def test_an_hour_with_two_token_changes(fleet: Any, devices: Callable[[int], list[str]]) -> None:
    """Four processes, one of them on a host with a wrong clock, use one provider token per half hour between them.

    At most two are in use at any moment, no connection shows a second one within 20 minutes, none is older than
    55 minutes.
    """
    first_offset_s = WINDOW_S - time.time() % WINDOW_S - BEGIN_BEFORE_CHANGE_S
    set_clock(fleet, first_offset_s)
    for _ in range(WORKERS - 1):
        fleet.stack.start_worker(Lane.ALERT)
    with skewed_worker(fleet):
        let_time_pass(fleet, devices(5000), first_offset_s)
        fleet.wait_until_settled(within_s=60)
    requests = fleet.requests()
    assert {(request["status"], request["reason"]) for request in requests} == {(200, "")}
    assert len({request["connection"] for request in requests}) >= WORKERS
    assert one_token_per_window(requests)
    assert most_in_use_within_a_minute(requests) <= 2
    assert soonest_change_on_a_connection(requests) >= 20 * 60
    assert max(request["clock"] - request["issued_at"] for request in requests) < 55 * 60


def one_token_per_window(requests: list[dict[str, Any]]) -> bool:
    """Tell whether every window has exactly one provider token, and whether there were two changes."""
    by_window = defaultdict(set)
    for request in requests:
        by_window[request["issued_at"]].add(request["provider_token"])
    assert len(by_window) == 3
    assert all(window % WINDOW_S == 0 for window in by_window)
    return all(len(provider_tokens) == 1 for provider_tokens in by_window.values())


def most_in_use_within_a_minute(requests: list[dict[str, Any]]) -> int:
    """Return the largest number of different provider tokens within one simulated minute."""
    by_minute = defaultdict(set)
    for request in requests:
        by_minute[request["clock"] // 60].add(request["provider_token"])
    return max(map(len, by_minute.values()))


def soonest_change_on_a_connection(requests: list[dict[str, Any]]) -> float:
    """Return the shortest time in which a connection showed two different provider tokens, in simulated seconds."""
    first_seen: dict[tuple[int, str], float] = {}
    for request in requests:
        first_seen.setdefault((request["connection"], request["provider_token"]), request["clock"])
    by_connection = defaultdict(list)
    for (connection, _), clock in first_seen.items():
        by_connection[connection].append(clock)
    changes = [later - earlier for clocks in by_connection.values() for earlier, later in pairwise(clocks)]
    return min(changes, default=float("inf"))
