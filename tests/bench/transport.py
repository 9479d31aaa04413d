"""Our transport and stock aioapns, 500 pushes in flight on a connection each, to the same sink."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

from dispatcher import Settings
from dispatcher.dev.simulator.certificates import CA_FILE
from dispatcher.dev.simulator.world import CONFIG_FILE, TEAM_A, key_file
from dispatcher.push_types import Environment
from tests.bench.processor import US, process_cpu_s
from tests.bench.pushes import APP, PAYLOAD, device_token
from tests.bench.results import Row, Unit, compare, must_agree, ratios
from tests.bench.sink import BENCH_ID_PREFIX
from tests.bench.sink_process import Sink, running_sink
from tests.bench.sizes import Sizes
from tests.bench.state import write_world
from workers.key_files import load_signing_keys
from workers.signing import ProviderTokens
from workers.transport.choice import make_transport
from workers.transport.port import STATUS_ACCEPTED, PushRequest

#: The factor of the aim for bunched answers.
_AIM: Final = 1 / 12
_IN_FLIGHT: Final = 500
_WARM_UP: Final = 2_000
_KEY_ID: Final = "KEYLEGACY0"
_EXPIRES_IN_S: Final = 3600
_DEADLINE_S: Final = 30.0
_PAYLOAD: Final = json.dumps(PAYLOAD, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sender:
    """A way to send, and its end."""

    send: Callable[[int], Awaitable[int]]
    close: Callable[[], Awaitable[None]]


def measure(sizes: Sizes) -> Iterator[Row]:
    """Compare the processor time of a push on our transport and on stock aioapns."""
    with TemporaryDirectory(prefix="apns-bench-") as name, asyncio.Runner() as runner:
        directory = Path(name)
        write_world(directory, url="https://127.0.0.1:1")
        with running_sink(directory) as sink:
            write_world(directory, url=sink.url)
            ours, stock = runner.run(_open(directory, sink.url))
            try:
                yield from _Contest(runner, sink, sizes.pushes).rows(sizes.rounds, ours, stock)
            finally:
                runner.run(_close(ours, stock))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What a push costs at both ends."""

    sender_us: float
    sink_us: float


class _Contest:
    def __init__(self, runner: asyncio.Runner, sink: Sink, pushes: int) -> None:
        self._runner = runner
        self._sink = sink
        self._pushes = pushes

    def rows(self, rounds: int, ours: _Sender, stock: _Sender) -> Iterator[Row]:
        for sender in (ours, stock):
            self._runner.run(_send_all(sender, _WARM_UP))
        our_costs, stock_costs = compare(rounds, lambda: self._cost(ours), lambda: self._cost(stock))
        values = ratios([cost.sender_us for cost in our_costs], [cost.sender_us for cost in stock_costs])
        note = f"{_IN_FLIGHT} in flight, answers bunched"
        yield Row(
            what="push on our transport, against stock aioapns", unit=Unit.RATIO, values=values, aim=_AIM, note=note
        )
        for what, costs in (("  our transport", our_costs), ("  stock aioapns", stock_costs)):
            sink_us = median(cost.sink_us for cost in costs)
            values = [cost.sender_us for cost in costs]
            yield Row(
                what=what, unit=Unit.US, values=values, note=f"{sink_us:.0f} us in the sink, a process of its own"
            )

    def _cost(self, sender: _Sender) -> _Cost:
        seen_before, sink_before = self._sink.seen, process_cpu_s(self._sink.child.pid)
        before = time.process_time()
        accepted = self._runner.run(_send_all(sender, self._pushes))
        sender_s = time.process_time() - before
        sink_s = process_cpu_s(self._sink.child.pid) - sink_before
        must_agree("accepted", expected=self._pushes, found=accepted)
        must_agree("seen by the sink", expected=self._pushes, found=self._sink.seen - seen_before)
        return _Cost(sender_us=sender_s / self._pushes * US, sink_us=sink_s / self._pushes * US)


async def _send_all(sender: _Sender, pushes: int) -> int:
    """Keep many in flight; return how many were accepted."""
    numbers = iter(range(pushes))

    async def keep_sending() -> int:
        accepted = 0
        for number in numbers:
            accepted += await sender.send(number) == STATUS_ACCEPTED
        return accepted

    return sum(await asyncio.gather(*(keep_sending() for _ in range(min(_IN_FLIGHT, pushes)))))


async def _open(directory: Path, url: str) -> tuple[_Sender, _Sender]:
    """Prepare both on the running loop; they connect when the first push needs it."""
    ids = count()
    return _ours(directory, ids), _stock(directory, url, ids)


async def _close(*senders: _Sender) -> None:
    for sender in senders:
        await sender.close()


def _ours(directory: Path, ids: Iterator[int]) -> _Sender:
    settings = Settings.from_env(
        {"APNS_BROKER_URL": "redis://127.0.0.1:1/0", "APNS_CONFIG": str(directory / CONFIG_FILE)}
    )
    tokens = ProviderTokens(load_signing_keys(settings))
    transport = make_transport(settings, tokens=tokens, now=time.time, dice=random.random)

    async def send(number: int) -> int:
        request = PushRequest(
            environment=Environment.PRODUCTION,
            key_id=_KEY_ID,
            device_token=device_token(number),
            apns_id=_apns_id(ids),
            topic=APP,
            push_type="alert",
            priority=10,
            expiration=int(time.time()) + _EXPIRES_IN_S,
            collapse_id=None,
            payload=_PAYLOAD,
            deadline_s=_DEADLINE_S,
            may_open=lambda: True,
        )
        return (await transport.send(request)).status

    return _Sender(send=send, close=transport.close)


def _stock(directory: Path, url: str, ids: Iterator[int]) -> _Sender:
    client = APNs(
        key=(directory / key_file(_KEY_ID)).read_text(encoding="utf-8"),
        key_id=_KEY_ID,
        team_id=TEAM_A,
        topic=APP,
        max_connections=1,
        ssl_context=ssl.create_default_context(cafile=directory / CA_FILE),
    )
    client.pool.protocol_class = _at(url)

    async def send(number: int) -> int:
        request = NotificationRequest(
            device_token=device_token(number),
            message=dict(PAYLOAD),
            notification_id=_apns_id(ids),
            time_to_live=_EXPIRES_IN_S,
            priority=10,
            push_type=PushType.ALERT,
        )
        return int((await client.send_notification(request)).status)

    async def close() -> None:
        client.pool.close()

    return _Sender(send=send, close=close)


def _at(url: str) -> type[APNsProductionClientProtocol]:
    """Return stock aioapns' protocol, but for the address."""
    address = urlsplit(url)

    class Elsewhere(APNsProductionClientProtocol):
        APNS_SERVER = address.hostname or ""
        APNS_PORT = address.port or 0

    return Elsewhere


def _apns_id(ids: Iterator[int]) -> str:
    return f"{BENCH_ID_PREFIX}{next(ids):012x}"
