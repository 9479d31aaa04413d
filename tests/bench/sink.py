"""A stand-in for APNs that says 200 to anything, fast enough not to be the limit: `python -m tests.bench.sink`.

It looks at frame headers and nothing else, so it proves nothing about correctness; that is the simulator's business.
Stock aioapns matches answers by apns-id, so an id that begins with `BENCH_ID_PREFIX` is copied into the answer as it
was encoded, without being decoded.

Source: RFC 9113 section 4.1 (frames), RFC 7541 section 6 (header fields).
"""

from __future__ import annotations

import asyncio
import mmap
import ssl
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from dispatcher.dev.ports import HOST
from dispatcher.dev.simulator.certificates import open_tls_context

#: What apns-ids of pushes through stock aioapns begin with.
BENCH_ID_PREFIX: Final = "00000000-0000-4000-8000-"
COUNT_FORMAT: Final = "<Q"
READY: Final = "sink ready on "

_PREFACE_BYTES: Final = 24
_FRAME_HEADER: Final = struct.Struct(">HBBBL")
_FRAME_HEADER_BYTES: Final = 9
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_STREAM_AND_HEADERS: Final = 0x5
_STATUS_200: Final = b"\x88"
_APNS_ID_NAME: Final = b"\x00\x07apns-id"
_MAX_STREAMS: Final = 1000
_SETTINGS_BODY: Final = struct.pack(">HL", 3, _MAX_STREAMS)
#: More than any benchmark sends on one connection, so that credit for it is given once.
_CREDIT: Final = struct.pack(">L", 2**31 - 1 - 65_535)
_LENGTH_BITS: Final = 0x7F


def _frame(kind: int, flags: int, stream_id: int, body: bytes) -> bytes:
    return _FRAME_HEADER.pack(len(body) >> 8, len(body) & 0xFF, kind, flags, stream_id) + body


_GREETING: Final = _frame(_SETTINGS, 0, 0, _SETTINGS_BODY) + _frame(8, 0, 0, _CREDIT)
_SETTINGS_ACK: Final = _frame(_SETTINGS, _ACK, 0, b"")
_PLAIN_ANSWER: Final = _frame(_HEADERS, _END_STREAM_AND_HEADERS, 0, _STATUS_200)[:5]


def _encoded_prefix() -> bytes:
    """Return the whole bytes that every Huffman-encoded bench id begins with."""
    encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    both = (encoder.encode((BENCH_ID_PREFIX + rest * 12).encode()) for rest in "0f")
    pairs = list(zip(*both, strict=False))
    differs_at = next(place for place, (one, other) in enumerate(pairs) if one != other)
    return bytes(one for one, _ in pairs[:differs_at])


_ID_PREFIXES: Final = (_encoded_prefix(), BENCH_ID_PREFIX.encode())


def _answer_with_id(block: bytes, stream_id: int) -> bytes | None:
    """Return an answer that repeats the request's apns-id, None when it has no bench id."""
    for prefix in _ID_PREFIXES:
        found = block.find(prefix)
        if found > 0:
            start = found - 1
            literal = block[start : found + (block[start] & _LENGTH_BITS)]
            return _frame(_HEADERS, _END_STREAM_AND_HEADERS, stream_id, _STATUS_200 + _APNS_ID_NAME + literal)
    return None


class SinkConnection(asyncio.Protocol):
    """One client: counts requests that ended, and accepts each.

    Args:
        count: Hears how many requests each read completed.
        delay_s: How long every answer waits.
    """

    def __init__(self, count: Callable[[int], None], delay_s: float) -> None:
        self._count = count
        self._delay_s = delay_s
        self._unread = b""
        self._with_ids: dict[int, bytes] = {}
        self._is_greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give credit and room at once."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("the sink wants streams")
        self._transport = transport
        transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        """Answer every request that ended in what was read."""
        unread = self._unread + data
        if not self._is_greeted:
            if len(unread) < _PREFACE_BYTES:
                self._unread = unread
                return
            self._is_greeted = True
            unread = unread[_PREFACE_BYTES:]
        controls, answers = self._read_frames(unread)
        if controls:
            self._transport.write(b"".join(controls))
        if answers:
            self._count(len(answers))
            self._answer(b"".join(answers))

    def _answer(self, answers: bytes) -> None:
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, answers)
        else:
            self._transport.write(answers)

    def _read_frames(self, unread: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return what to write for connection and for requests; keeps an incomplete frame."""
        controls: list[bytes] = []
        answers: list[bytes] = []
        start, end = 0, len(unread)
        while end - start >= _FRAME_HEADER_BYTES:
            high, low, kind, flags, stream_id = _FRAME_HEADER.unpack_from(unread, start)
            body_start = start + _FRAME_HEADER_BYTES
            next_start = body_start + (high << 8 | low)
            if next_start > end:
                break
            if kind == _HEADERS:
                answer = _answer_with_id(unread[body_start:next_start], stream_id)
                if answer is not None:
                    self._with_ids[stream_id] = answer
            if kind in (_HEADERS, _DATA):
                if flags & _END_STREAM:
                    answers.append(
                        self._with_ids.pop(stream_id, b"") or _PLAIN_ANSWER + stream_id.to_bytes(4, "big") + _STATUS_200
                    )
            elif kind == _SETTINGS and not flags & _ACK:
                controls.append(_SETTINGS_ACK)
            elif kind == _PING and not flags & _ACK:
                controls.append(_frame(_PING, _ACK, 0, unread[body_start:next_start]))
            start = next_start
        self._unread = unread[start:]
        return controls, answers


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


async def _serve(tls: ssl.SSLContext, counter: Counter, delay_s: float) -> None:
    make = partial(SinkConnection, counter.add, delay_s)
    server = await asyncio.get_running_loop().create_server(make, HOST, 0, ssl=tls)
    click.echo(f"{READY}https://{HOST}:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


@click.command()
@click.option("--dir", "directory", type=click.Path(path_type=Path), required=True, help="Where its certificates are.")
@click.option("--count", type=click.Path(path_type=Path), required=True, help="The file it counts requests in.")
@click.option("--delay-ms", default=0, help="How long every answer waits.")
def sink(*, directory: Path, count: Path, delay_ms: int) -> None:
    """Accept any push until killed."""
    asyncio.run(_serve(open_tls_context(directory), Counter(count), delay_ms / 1000))


if __name__ == "__main__":
    sink()
