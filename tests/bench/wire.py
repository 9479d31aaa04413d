"""Our HTTP/2 without a socket: requests in and bytes out, the bytes of answers in and events out."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Final

from tests.bench.manner import Manner
from tests.bench.processor import US
from tests.bench.results import Row, Unit, must_agree
from tests.bench.senders import provider_token, push_request
from tests.bench.sink_frames import GREETING, RequestReader
from tests.bench.sizes import Sizes
from workers.transport.request_headers import wire_request
from workers.transport.wire.connection import WireConnection
from workers.transport.wire.events import Answered
from workers.transport.wire.request import WireRequest

_AUTHORITY: Final = "api.push.apple.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a connection without a socket did.

    Attributes:
        greeting: What it said first.
        pushes: What it wrote then: `in_flight` pushes in each.
        us: Microseconds per push.
    """

    greeting: bytes
    pushes: Sequence[bytes]
    us: float


def measure_wire(sizes: Sizes, manner: Manner, directory: Path) -> Iterator[Row]:
    """Measure what the wire takes of a push."""
    values = [exchange(sizes.pushes, manner, directory).us for _ in range(sizes.rounds)]
    note = "no socket; an answer per read" if manner.spread_ms else "no socket; one read per 500 answers"
    yield Row(what=f"{manner.name}: our wire alone", unit=Unit.US, values=values, note=note)


def exchange(pushes: int, manner: Manner, directory: Path) -> Exchange:
    """Let a connection send pushes and hear that they were accepted.

    Raises:
        VoidError: It did not say so of each.
    """
    requests = list(_requests(pushes, directory))
    wire, sink = WireConnection(authority=_AUTHORITY), RequestReader()
    greeting = wire.data_to_send()
    sink.feed(greeting)
    wire.receive_data(GREETING)
    spent_s, written = 0.0, []
    gc.collect()
    for start in range(0, pushes, manner.in_flight):
        before = process_time()
        for request in requests[start : start + manner.in_flight]:
            wire.send_request(request)
        written.append(wire.data_to_send())
        spent_s += process_time() - before
        _, answers = sink.feed(written[-1])
        spent_s += _answer(wire, answers if manner.spread_ms else [b"".join(answers)], expected=len(answers))
    return Exchange(greeting=greeting, pushes=written, us=spent_s / pushes * US)


def _answer(wire: WireConnection, reads: Sequence[bytes], *, expected: int) -> float:
    """Return the seconds that reading takes."""
    before = process_time()
    events = [event for read in reads for event in wire.receive_data(read)]
    spent_s = process_time() - before
    must_agree("answered", expected=expected, found=sum(isinstance(event, Answered) for event in events))
    return spent_s


def _requests(pushes: int, directory: Path) -> Iterator[WireRequest]:
    authorization = f"bearer {provider_token(directory)}"
    return (wire_request(push_request(number), authorization=authorization) for number in range(pushes))
