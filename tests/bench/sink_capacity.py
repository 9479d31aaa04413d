"""What an answer costs the sink, found out with a client that writes frames made beforehand and counts answers."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from dispatcher.dev.simulator.certificates import CA_FILE
from tests.bench.manner import Manner
from tests.bench.processor import US, process_cpu_s
from tests.bench.results import Row, Unit, VoidError, must_agree
from tests.bench.sink_frames import MAX_STREAMS
from tests.bench.sink_process import Sink
from tests.bench.sizes import Sizes
from tests.bench.wire import Exchange, exchange
from workers.transport.wire.frame_reader import FrameReader
from workers.transport.wire.frames import FrameType

#: 50,000 answers a second on one core.
_AIM_US: Final = 20.0
_READ_BYTES: Final = 2**18
_SILENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What pushes cost the sink, and how many it answered a second."""

    us: float
    rate: float


def measure_sink(sizes: Sizes, manner: Manner, directory: Path, sink: Sink) -> Iterator[Row]:
    """Measure the sink; it should be faster than any sender when answers are bunched."""
    made = exchange(sizes.pushes, manner, directory)
    runs = [_run(made, manner, directory, sink) for _ in range(sizes.rounds)]
    values = [run.us for run in runs]
    note = f"{US / median(values):,.0f} answers a second on a whole core"
    if manner.spread_ms:
        yield Row(what=f"{manner.name}: the sink itself", unit=Unit.US, values=values, note=note)
        return
    note += f", {median(run.rate for run in runs):,.0f} to this client of frames made beforehand"
    yield Row(what=f"{manner.name}: the sink itself", unit=Unit.US, values=values, aim=_AIM_US, note=note)


def _run(made: Exchange, manner: Manner, directory: Path, sink: Sink) -> _Run:
    with _connect(directory, sink.url) as connection:
        connection.sendall(made.greeting)
        seen_before, cpu_before, before = sink.seen, process_cpu_s(sink.child.pid), time.monotonic()
        pushes = _exchange(connection, made.pushes, manner.in_flight)
        cpu_s, lasted_s = process_cpu_s(sink.child.pid) - cpu_before, time.monotonic() - before
    must_agree("seen by the sink", expected=pushes, found=sink.seen - seen_before)
    return _Run(us=cpu_s / pushes * US, rate=pushes / lasted_s)


def _exchange(connection: ssl.SSLSocket, parts: Sequence[bytes], pushes_per_part: int) -> int:
    """Write as much as the sink has streams for, so that it need not wait; return how many pushes it answered."""
    waiting, reader = deque(parts), FrameReader()
    written = answered = 0
    while waiting or answered < written:
        while waiting and written - answered + pushes_per_part <= MAX_STREAMS:
            connection.sendall(waiting.popleft())
            written += pushes_per_part
        read = connection.recv(_READ_BYTES)
        if not read:
            raise VoidError("the sink closed the connection")
        answered += sum(kind == FrameType.HEADERS for kind, *_ in reader.feed(read))
    return answered


def _connect(directory: Path, url: str) -> ssl.SSLSocket:
    address = urlsplit(url)
    context = ssl.create_default_context(cafile=directory / CA_FILE)
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection((address.hostname, address.port), timeout=_SILENCE_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=address.hostname)
