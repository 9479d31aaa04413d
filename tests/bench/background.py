"""A background update for a device that has one waiting: cost at the producer and in the state server."""

from __future__ import annotations

from collections.abc import Iterator
from time import process_time
from typing import Final

from tests.bench.processor import US, server_cpu_s
from tests.bench.pushes import APP, device_token
from tests.bench.results import Row, Unit, must_agree
from tests.bench.sizes import Sizes
from tests.bench.state import Producer, messages, producer

_DEVICES: Final = 100
_QUEUE: Final = "apns.background"


def measure(sizes: Sizes) -> Iterator[Row]:
    """Measure both ends of an update that replaces a waiting one, and that none becomes a message."""
    with producer() as stage:
        for number in range(_DEVICES):
            _update(stage, number)
        wake_ups = messages(stage.state, _QUEUE)
        costs = [_cost(stage, sizes.updates) for _ in range(sizes.rounds)]
        must_agree("messages", expected=wake_ups, found=messages(stage.state, _QUEUE))
        what = "collapsed background update"
        note = "no Celery message"
        yield Row(what=f"{what}, producer", unit=Unit.US, values=[ours for ours, _ in costs], aim=150.0, note=note)
        note = f"a PING costs {_ping_us(stage, sizes.updates):.0f} us"
        yield Row(
            what=f"{what}, state server", unit=Unit.US, values=[server for _, server in costs], aim=15.0, note=note
        )


def _cost(stage: Producer, count: int) -> tuple[float, float]:
    """Return the microseconds of one update at the producer and in the server."""
    server_before, before = server_cpu_s(stage.state), process_time()
    replaced = sum(_update(stage, number) for number in range(count))
    ours = process_time() - before
    server = server_cpu_s(stage.state) - server_before
    must_agree("replaced", expected=count, found=replaced)
    return ours / count * US, server / count * US


def _ping_us(stage: Producer, count: int) -> float:
    """Return the microseconds in the server of the least that a round trip can cost."""
    before = server_cpu_s(stage.state)
    for _ in range(count):
        stage.state.ping()
    return (server_cpu_s(stage.state) - before) / count * US


def _update(stage: Producer, number: int) -> bool:
    return stage.push.background(APP, device_token(number % _DEVICES), {"version": number}).replaced
