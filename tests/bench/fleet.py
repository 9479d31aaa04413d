"""A fleet whose pushes go to the sink, and one worker of it under the stopwatch."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import redis

from dispatcher import Dispatcher, Settings
from dispatcher.dev.children import Child, poll
from dispatcher.dev.stack import Stack
from dispatcher.push_types import Lane
from tests.bench.processor import US, process_cpu_s, server_cpu_s
from tests.bench.results import VoidError, must_agree
from tests.bench.sink_process import Sink, running_sink
from tests.bench.state import counted, waiting

GIVE_UP_AFTER_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A state server, a sink and whatever workers are started.

    Attributes:
        stack: The processes.
        push: A dispatcher.
        sink: Where pushes of the sandbox go, those of production too unless the simulator is asked for.
        state: A plain connection to the state server.
    """

    stack: Stack
    push: Dispatcher
    sink: Sink
    state: redis.Redis


@contextmanager
def fleet(*, simulated_production: bool = False, delay_ms: int = 0) -> Iterator[Fleet]:
    """Start a fleet without workers.

    Args:
        simulated_production: Leave production to the faithful simulator.
        delay_ms: How long the sink's answers wait.
    """
    with TemporaryDirectory(prefix="apns-bench-", ignore_cleanup_errors=True) as name:
        stack = Stack(Path(name), lanes=())
        try:
            stack.start_servers()
            stack.start_workers()
            with running_sink(stack.config.parent, delay_ms=delay_ms) as sink:
                _lead_to(sink.url, stack.config, "sandbox" if simulated_production else "production|sandbox")
                with Dispatcher(Settings.from_env(stack.env)) as push, redis.Redis.from_url(stack.server.url) as state:
                    yield Fleet(stack=stack, push=push, sink=sink, state=state)
        finally:
            stack.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What pushes cost.

    Attributes:
        worker_us: Processor time of the worker, microseconds per push.
        server_us: The same of the state server, from the claim on.
    """

    worker_us: float
    server_us: float


def cost_of_sending(fleet: Fleet, worker: Child, enqueue: Callable[[], None], *, pushes: int) -> Cost:
    """Let a worker send what is enqueued while it stands still.

    Raises:
        VoidError: Not everything was seen once and settled.
    """
    seen_before, delivered_before = fleet.sink.seen, counted(fleet.state, "delivered")
    worker.send_signal(signal.SIGSTOP)
    enqueue()
    server_before, worker_before = server_cpu_s(fleet.state), process_cpu_s(worker.pid)
    worker.send_signal(signal.SIGCONT)
    _wait_until_settled(fleet, seen_before + pushes)
    worker_s = process_cpu_s(worker.pid) - worker_before
    server_s = server_cpu_s(fleet.state) - server_before
    must_agree("seen by the sink", expected=pushes, found=fleet.sink.seen - seen_before)
    must_agree("delivered", expected=pushes, found=counted(fleet.state, "delivered") - delivered_before)
    return Cost(worker_us=worker_s / pushes * US, server_us=server_s / pushes * US)


def _wait_until_settled(fleet: Fleet, seen: int) -> None:
    # The sink's count costs nothing to read; the state server, whose time is being taken, is asked only at the end.
    is_over = poll(lambda: fleet.sink.seen >= seen, within_s=GIVE_UP_AFTER_S)
    if not is_over or not poll(lambda: not waiting(fleet.state, Lane.ALERT), within_s=GIVE_UP_AFTER_S):
        raise VoidError(f"not everything was sent and settled within {GIVE_UP_AFTER_S:g} s")


def _lead_to(url: str, config: Path, endpoints: str) -> None:
    line = re.compile(rf'(?m)^({endpoints}) = ".*"$')
    config.write_text(line.sub(rf'\1 = "{url}"', config.read_text(encoding="utf-8")), encoding="utf-8")
