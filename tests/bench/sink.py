"""A stand-in for APNs that says 200 to anything, fast enough not to be the limit: `python -m tests.bench.sink`.

It looks at frame headers and nothing else, so it proves nothing about correctness; that is the simulator's business.
"""

from __future__ import annotations

import asyncio
import mmap
import random
import selectors
import ssl
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click

from dispatcher.dev.ports import HOST
from dispatcher.dev.simulator.certificates import open_tls_context
from tests.bench.sink_frames import GREETING, RequestReader

COUNT_FORMAT: Final = "<Q"
READY: Final = "sink ready on "


class SinkConnection(asyncio.Protocol):
    """One client: counts requests that ended, and accepts each.

    Args:
        count: Hears how many requests each read completed.
        delay_s: How long every answer waits.
        spread_s: How much longer it may wait, drawn for each; 0 to write the answers to one read together.
    """

    def __init__(self, count: Callable[[int], None], delay_s: float, spread_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._delay_s = delay_s
        self._spread_s = spread_s
        self._reader = RequestReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give credit and room at once."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("the sink wants streams")
        self._transport = transport
        transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        """Answer every request that ended in what was read."""
        controls, answers = self._reader.feed(data)
        if controls:
            self._transport.write(b"".join(controls))
        if answers:
            self._count(len(answers))
            self._answer(answers)

    def _answer(self, answers: list[bytes]) -> None:
        if self._spread_s:
            for answer in answers:
                # Each write becomes a TLS record and a segment of its own.
                delay_s = self._delay_s + random.random() * self._spread_s  # noqa: S311 - nothing secret about it
                self._loop.call_later(delay_s, self._transport.write, answer)
        elif self._delay_s:
            self._loop.call_later(self._delay_s, self._transport.write, b"".join(answers))
        else:
            self._transport.write(b"".join(answers))


class Counter:
    """A count that other processes read from a file while it grows."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(struct.calcsize(COUNT_FORMAT)))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self._total = 0

    def add(self, number: int) -> None:
        """Count."""
        self._total += number
        struct.pack_into(COUNT_FORMAT, self._shared, 0, self._total)


def _make_loop() -> asyncio.AbstractEventLoop:
    # epoll counts in milliseconds, which would bunch answers that are due one by one.
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _serve(tls: ssl.SSLContext, counter: Counter, delay_s: float, spread_s: float) -> None:
    make = partial(SinkConnection, counter.add, delay_s, spread_s)
    server = await asyncio.get_running_loop().create_server(make, HOST, 0, ssl=tls)
    click.echo(f"{READY}https://{HOST}:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


@click.command()
@click.option("--dir", "directory", type=click.Path(path_type=Path), required=True, help="Where its certificates are.")
@click.option("--count", type=click.Path(path_type=Path), required=True, help="The file it counts requests in.")
@click.option("--delay-ms", default=0, help="How long every answer waits.")
@click.option("--spread-ms", default=0, help="How much longer it may wait, drawn for each; then they come one by one.")
def sink(*, directory: Path, count: Path, delay_ms: int, spread_ms: int) -> None:
    """Accept any push until killed."""
    with asyncio.Runner(loop_factory=_make_loop) as runner:
        runner.run(_serve(open_tls_context(directory), Counter(count), delay_ms / 1000, spread_ms / 1000))


if __name__ == "__main__":
    sink()
