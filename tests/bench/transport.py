"""Senders on one connection each, to the same sink: our transports, stock aioapns, and peers given by command.

Each round every sender opens a connection, warms up, is measured and closes; who is first changes from round to round.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.manner import BUNCHED, SINGLE, Manner
from tests.bench.peers import Peer, cost_of_peer
from tests.bench.processor import US, process_cpu_s
from tests.bench.results import Row, Unit, VoidError, in_turn, must_agree, ratios
from tests.bench.senders import OURS, SENDERS, STOCK, Sender
from tests.bench.sink_capacity import measure_sink
from tests.bench.sink_process import Sink, running_sink
from tests.bench.sizes import Sizes
from tests.bench.state import write_world
from tests.bench.wire import measure_wire
from workers.transport.port import STATUS_ACCEPTED

_WARM_UP: Final = 2_000
_GIVE_UP_AFTER_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What a push costs at both ends, in microseconds."""

    sender_us: float
    sink_us: float


def measure(sizes: Sizes, peers: Sequence[Peer] = ()) -> Iterator[Row]:
    """Compare the processor time of a push, for both manners of answering.

    Raises:
        VoidError: At the end, a peer could not be measured.
    """
    faults: list[str] = []
    for manner in (BUNCHED, SINGLE):
        with TemporaryDirectory(prefix="apns-bench-") as name, asyncio.Runner() as runner:
            directory = Path(name)
            write_world(directory, url="https://127.0.0.1:1")
            with running_sink(directory, delay_ms=manner.delay_ms, spread_ms=manner.spread_ms) as sink:
                contest = _Contest(runner, sink, directory, manner, sizes)
                yield from contest.rows([peer for peer in peers if contest.is_fit(peer, faults)])
                yield from measure_sink(sizes, manner, directory, sink)
            yield from measure_wire(sizes, manner, directory)
    if faults:
        raise VoidError("; ".join(faults))


class _Contest:
    def __init__(self, runner: asyncio.Runner, sink: Sink, directory: Path, manner: Manner, sizes: Sizes) -> None:
        self._runner = runner
        self._sink = sink
        self._directory = directory
        self._manner = manner
        self._sizes = sizes

    def is_fit(self, peer: Peer, faults: list[str]) -> bool:
        """Tell whether a peer can be measured; if not, say why in `faults`."""
        try:
            cost_of_peer(peer, self._manner, self._directory, self._sink, pushes=self._manner.in_flight)
        except VoidError as exc:
            faults.append(f"{self._manner.name}: {exc}")
            return False
        return True

    def rows(self, peers: Sequence[Peer]) -> Iterator[Row]:
        contestants: dict[str, Callable[[], _Cost]] = {name: partial(self._sender, name) for name in SENDERS}
        contestants |= {f"peer {peer.name}": partial(self._peer, peer) for peer in peers}
        runs = in_turn(self._sizes.rounds, list(contestants.values()))
        costs = dict(zip(contestants, runs, strict=True))
        yield self._ratio_row(costs)
        stock_us = [cost.sender_us for cost in costs[STOCK]]
        for name, found in costs.items():
            values = [cost.sender_us for cost in found]
            note = f"{median(ratios(values, stock_us)):.3f} of {STOCK}; " if name != STOCK else ""
            note += f"{median(cost.sink_us for cost in found):.0f} us in the sink"
            yield Row(what=f"  {name}", unit=Unit.US, values=values, note=note)

    def _ratio_row(self, costs: Mapping[str, Sequence[_Cost]]) -> Row:
        ours_us, stock_us = ([cost.sender_us for cost in costs[name]] for name in (OURS, STOCK))
        manner = self._manner
        note = f"{manner.in_flight:,} in flight"
        if manner.spread_ms:
            note += f", answers one by one after {manner.delay_ms} to {manner.delay_ms + manner.spread_ms} ms"
        what = f"{manner.name}: {OURS}, against {STOCK}"
        return Row(what=what, unit=Unit.RATIO, values=ratios(ours_us, stock_us), aim=manner.aim, note=note)

    def _sender(self, name: str) -> _Cost:
        return self._runner.run(self._sender_cost(name))

    async def _sender_cost(self, name: str) -> _Cost:
        sender = SENDERS[name](self._directory, self._sink.url)
        try:
            await self._send_all(sender, _WARM_UP)
            gc.collect()
            sink_before, before = process_cpu_s(self._sink.child.pid), time.process_time()
            await self._send_all(sender, self._sizes.pushes)
            sender_s = time.process_time() - before
            sink_s = process_cpu_s(self._sink.child.pid) - sink_before
        finally:
            await sender.close()
        return _cost(sender_s, sink_s, self._sizes.pushes)

    async def _send_all(self, sender: Sender, pushes: int) -> None:
        """Keep many in flight.

        Raises:
            VoidError: The sink did not see each of them once, or did not accept it, or not in time.
        """
        numbers = iter(range(pushes))

        async def keep_sending() -> int:
            accepted = 0
            for number in numbers:
                accepted += await sender.send(number) == STATUS_ACCEPTED
            return accepted

        seen_before, accepted = self._sink.seen, 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_UP_AFTER_S):
                accepted = sum(await asyncio.gather(*(keep_sending() for _ in range(self._manner.in_flight))))
        must_agree("accepted", expected=pushes, found=accepted)
        must_agree("seen by the sink", expected=pushes, found=self._sink.seen - seen_before)

    def _peer(self, peer: Peer) -> _Cost:
        pushes = self._sizes.peer_pushes
        cost = cost_of_peer(peer, self._manner, self._directory, self._sink, pushes=pushes)
        return _cost(cost.peer_s, cost.sink_s, pushes)


def _cost(sender_s: float, sink_s: float, pushes: int) -> _Cost:
    return _Cost(sender_us=sender_s / pushes * US, sink_us=sink_s / pushes * US)
