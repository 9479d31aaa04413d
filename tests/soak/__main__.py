"""The long profile: one transport sends at a steady rate for an hour, to the simulator with all its checks.

    python -m tests.soak --minutes 60 --rate 1000

Prints a line a minute and writes RESULTS.md; ends with exit code 1 if a push was not answered, memory grew or a
connection was opened that the server had not asked for. Never part of the test run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import redis

from dispatcher import Settings, ids, redis_keys
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack
from dispatcher.push_types import Environment
from workers.key_files import load_signing_keys
from workers.provider_token import MARGIN_S, WINDOW_S
from workers.signing import ProviderTokens
from workers.transport.choice import make_transport
from workers.transport.port import PushRequest, Transport

APP: Final = "com.example.app"
KEY_ID: Final = "KEYLEGACY0"
RESULTS: Final = Path(__file__).parent / "RESULTS.md"
DEVICES: Final = 20_000
TICKS_PER_S: Final = 50
#: Memory is compared with what it was after this many minutes, when every cache is full.
SETTLED_AFTER: Final = 2
MAX_GROWTH_MB: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run has seen.

    Attributes:
        sent: Pushes handed to the transport.
        accepted: Pushes answered 200.
        others: Whatever else came, by its text.
        connections: When each connection was opened.
        memory_mb: Resident memory, one number a minute.
    """

    sent: int = 0
    accepted: int = 0
    others: dict[str, int] = field(default_factory=dict)
    connections: set[float] = field(default_factory=set)
    memory_mb: list[float] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """How much memory grew after the first minutes."""
        return self.memory_mb[-1] - self.memory_mb[min(SETTLED_AFTER, len(self.memory_mb) - 1)]

    @property
    def is_good(self) -> bool:
        """Whether everything was accepted over one connection in flat memory."""
        return self.accepted == self.sent and len(self.connections) == 1 and self.growth_mb <= MAX_GROWTH_MB


def main() -> None:
    """Run and write down what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1000)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="apns-soak-") as name:
        stack = Stack(Path(name) / "stack", lanes=(), log_requests=False)
        stack.start_servers()
        try:
            now = begin_window(stack)
            run = asyncio.run(soak(Settings.from_env(stack.env), now, options.minutes, options.rate))
        finally:
            stack.stop()
    text = "\n".join(report(run, options.rate))
    RESULTS.write_text(f"# One transport, a long time\n\n{text}\n", encoding="utf-8")
    say(text)
    sys.exit(0 if run.is_good else 1)


def begin_window(stack: Stack) -> Callable[[], float]:
    """Move the simulator's clock to where a provider token's half hour has just begun; return that clock."""
    offset_s = WINDOW_S - (time.time() - MARGIN_S) % WINDOW_S + 1
    with redis.Redis.from_url(stack.server.url) as state:
        for shard in range(ids.SHARDS):
            state.set(redis_keys.clock(shard), f"{offset_s:.3f}")
    return lambda: time.time() + offset_s


async def soak(settings: Settings, now: Callable[[], float], minutes: int, rate: int) -> Run:
    """Send at a steady rate, looking at everything once a minute."""
    transport = make_transport(
        settings,
        tokens=ProviderTokens(load_signing_keys(settings)),
        now=now,
        dice=random.random,
    )
    run = Run()
    numbers = count()
    try:
        for minute in range(minutes):
            await send_for_a_minute(transport, run, numbers, rate)
            run.memory_mb.append(resident_mb())
            run.connections |= {connection.opened_at for connection in transport.connections()}
            say(f"{minute + 1:3} min  {run.sent:>9,} sent  {run.accepted:>9,} accepted  {run.memory_mb[-1]:6.1f} MB")
    finally:
        await transport.close()
    return run


async def send_for_a_minute(transport: Transport, run: Run, numbers: Iterator[int], rate: int) -> None:
    """Send a minute's pushes in small groups and wait for the last answer."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for tick in range(60 * TICKS_PER_S):
            for _ in range(rate // TICKS_PER_S):
                group.create_task(send_one(transport, run, next(numbers)))
            await asyncio.sleep(max(0.0, begun + (tick + 1) / TICKS_PER_S - time.monotonic()))


async def send_one(transport: Transport, run: Run, number: int) -> None:
    """Send one push and note what came."""
    run.sent += 1
    try:
        answer = await transport.send(request(number))
    except Exception as exc:  # noqa: BLE001  whatever it is, it belongs into the report
        run.others[repr(exc)] = run.others.get(repr(exc), 0) + 1
        return
    if answer.is_accepted:
        run.accepted += 1
    else:
        run.others[answer.reason] = run.others.get(answer.reason, 0) + 1


def request(number: int) -> PushRequest:
    """Return the n-th push."""
    return PushRequest(
        environment=Environment.PRODUCTION,
        key_id=KEY_ID,
        device_token=device_token(number % DEVICES),
        apns_id=ids.apns_id_of("00000000-0000-8000-8000-000000000000", number % 2**16),
        topic=APP,
        push_type="alert",
        priority=10,
        expiration=None,
        collapse_id=None,
        payload=b'{"aps":{"alert":"A message from a friend"}}',
        deadline_s=10.0,
        may_open=lambda: True,
    )


def resident_mb() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(run: Run, rate: int) -> Iterator[str]:
    """Yield the lines of the result."""
    yield f"| {len(run.memory_mb)} minutes at {rate:,} pushes a second | |"
    yield "|---|---|"
    yield f"| sent | {run.sent:,} |"
    yield f"| accepted | {run.accepted:,} |"
    yield f"| anything else | {run.others or 'none'} |"
    yield f"| connections | {len(run.connections)} |"
    settled_mb, last_mb = run.memory_mb[-1] - run.growth_mb, run.memory_mb[-1]
    yield f"| memory after {SETTLED_AFTER + 1} minutes, at the end | {settled_mb:.1f} MB, {last_mb:.1f} MB |"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
