"""The whole way through one worker process: message, claim, push, answer, feedback, settled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dispatcher.push_types import Lane
from tests.bench.fleet import Fleet, cost_of_sending, fleet
from tests.bench.pushes import APP, PAYLOAD, device_token, device_tokens
from tests.bench.results import Row, Unit
from tests.bench.sizes import Sizes

_WARM_UP: Final = 2_000


def measure_batches(sizes: Sizes) -> Iterator[Row]:
    """Measure worker and state server per push of a bulk call."""
    with fleet() as stage:
        worker = stage.stack.start_worker(Lane.ALERT)
        cost_of_sending(stage, worker, lambda: _send_many(stage, _WARM_UP), pushes=_WARM_UP)
        count = sizes.batched
        costs = [
            cost_of_sending(stage, worker, lambda: _send_many(stage, count), pushes=count)
            for _ in range(sizes.worker_rounds)
        ]
    yield Row(what="push in batches, worker", unit=Unit.US, values=[cost.worker_us for cost in costs], aim=40.0)
    yield Row(what="push in batches, state server", unit=Unit.US, values=[cost.server_us for cost in costs], aim=5.0)


def measure_singles(sizes: Sizes) -> Iterator[Row]:
    """Measure worker and state server per push sent by a call of its own."""
    with fleet() as stage:
        worker = stage.stack.start_worker(Lane.ALERT)
        cost_of_sending(stage, worker, lambda: _send_singles(stage, _WARM_UP // 10), pushes=_WARM_UP // 10)
        count = sizes.worker_singles
        costs = [
            cost_of_sending(stage, worker, lambda: _send_singles(stage, count), pushes=count)
            for _ in range(sizes.worker_rounds)
        ]
    yield Row(what="single push, worker", unit=Unit.US, values=[cost.worker_us for cost in costs], aim=900.0)
    yield Row(what="single push, state server", unit=Unit.US, values=[cost.server_us for cost in costs])


def _send_many(stage: Fleet, count: int) -> None:
    stage.push.send_many(APP, device_tokens(count), payload=PAYLOAD, push_type="alert")


def _send_singles(stage: Fleet, count: int) -> None:
    for number in range(count):
        stage.push.alert(APP, device_token(number), title="A message from a friend", body="x" * 150, badge=1)
