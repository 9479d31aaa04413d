"""One payload for many device tokens: the processor time of each, and the memory of a million."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Final

from dispatcher import Dispatcher, Settings
from dispatcher.dev import programs
from tests.bench.processor import US, peak_memory_mb
from tests.bench.pushes import APP, PAYLOAD, device_tokens
from tests.bench.results import Row, Unit, must_agree
from tests.bench.sizes import Sizes
from tests.bench.state import Producer, counted, producer

_ROOT: Final = Path(__file__).parents[2]
_WARM_UP: Final = 1_000
#: Memory is looked at after this part of the device tokens, too: constant means that the rest adds nothing.
_FIRST_PART: Final = 10


def measure(sizes: Sizes) -> Iterator[Row]:
    """Measure the producer's processor time per device token, and how its memory grows."""
    with producer() as stage:
        _send(stage.push, _WARM_UP)
        costs = [_cost(stage, sizes.bulk) for _ in range(sizes.rounds)]
        expected = _WARM_UP + sizes.rounds * sizes.bulk
        must_agree("accepted", expected=expected, found=counted(stage.state, "accepted"))
        yield Row(what="bulk enqueue, per device token", unit=Unit.US, values=costs, aim=10.0)
        stage.state.flushall()
        early_mb, late_mb = _growth(stage, sizes.bulk_memory)
        must_agree("accepted", expected=sizes.bulk_memory, found=counted(stage.state, "accepted"))
        note = f"{early_mb:.1f} MB after {sizes.bulk_memory // _FIRST_PART:,}"
        what = f"bulk enqueue, peak memory grown by {sizes.bulk_memory:,} tokens"
        yield Row(what=what, unit=Unit.MB, values=[late_mb], note=note)


def watch(count: int) -> tuple[float, float]:
    """Send to many device tokens from a generator; return by how many MB the peak grew after a part, and in all."""
    with Dispatcher(Settings.from_env()) as push:
        _send(push, _WARM_UP)
        at_start_mb = peak_memory_mb()
        early_mb = 0.0

        def watched() -> Iterator[str]:
            nonlocal early_mb
            for sent, device_token in enumerate(device_tokens(count - _WARM_UP)):
                if sent == count // _FIRST_PART:
                    early_mb = peak_memory_mb()
                yield device_token

        push.send_many(APP, watched(), payload=PAYLOAD, push_type="alert")
        return early_mb - at_start_mb, peak_memory_mb() - at_start_mb


def _cost(stage: Producer, count: int) -> float:
    given = list(device_tokens(count))
    before = process_time()
    receipt = stage.push.send_many(APP, given, payload=PAYLOAD, push_type="alert")
    cost = (process_time() - before) / count * US
    must_agree("in the receipt", expected=count, found=receipt.accepted)
    return cost


def _send(push: Dispatcher, count: int) -> None:
    push.send_many(APP, device_tokens(count), payload=PAYLOAD, push_type="alert")


def _growth(stage: Producer, count: int) -> tuple[float, float]:
    """Watch memory in a fresh process, since a peak never falls."""
    command = [sys.executable, "-m", "tests.bench.bulk_enqueue", str(count)]
    env = programs.environment(stage.env)
    printed = subprocess.run(command, env=env, cwd=_ROOT, check=True, stdout=subprocess.PIPE).stdout
    early_mb, late_mb = json.loads(printed)
    return early_mb, late_mb


if __name__ == "__main__":
    sys.stdout.write(json.dumps(watch(int(sys.argv[1]))))
