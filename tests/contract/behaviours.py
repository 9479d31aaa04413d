"""What a scripted server can do to the pushes of a case, one function each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.contract.scripted_server import Script, SeenRequest, ServerConnection, accept

#: As many as a pool that has had one success sends at once.
PUSHES: Final = 8

#: The deadline of pushes that end by it.
IMPATIENT_S: Final = 0.4

MALFORMED: Final = b"\x00\x00\x01\x04\x00\x00\x00\x00\x00?"
NOT_HTTP2: Final = b"HTTP/1.1 400 Bad Request\r\n\r\n"
UNKNOWN_FRAME: Final = b"\x00\x00\x04\xfa\x00\x00\x00\x00\x00????"

OnRequest = Callable[[ServerConnection, SeenRequest], None]
OnAll = Callable[[ServerConnection, list[SeenRequest]], None]


def plain_answer(stream_id: int) -> bytes:
    """Return the bytes of a 200, also for a stream that h2 would not answer any more."""
    return b"\x00\x00\x01\x01\x05" + stream_id.to_bytes(4, "big") + b"\x88"


def each(on_request: OnRequest, **options: object) -> Callable[[], Script]:
    """Misbehave at each request on connection 0 after its first."""

    def handle(connection: ServerConnection, seen: SeenRequest) -> None:
        is_spared = connection.number > 0 or seen.stream_id == 1
        (accept if is_spared else on_request)(connection, seen)

    return lambda: Script(on_request=handle, **options)  # type: ignore[arg-type]


def everywhere(on_request: OnRequest) -> Callable[[], Script]:
    """Misbehave at each request but the very first, whatever the connection."""

    def handle(connection: ServerConnection, seen: SeenRequest) -> None:
        is_spared = connection.number == 0 and seen.stream_id == 1
        (accept if is_spared else on_request)(connection, seen)

    return lambda: Script(on_request=handle)


def together(on_all: OnAll) -> Callable[[], Script]:
    """Misbehave once all eight have arrived."""

    def make() -> Script:
        arrived: list[SeenRequest] = []

        def hold(connection: ServerConnection, seen: SeenRequest) -> None:
            arrived.append(seen)
            if len(arrived) == PUSHES:
                on_all(connection, arrived)

        return each(hold)()

    return make


def answer(status: int, *parts: bytes, **headers: str) -> OnRequest:
    """Answer at once."""
    return lambda connection, seen: connection.answer(seen.stream_id, status, *parts, **headers)


def answer_all_but_one(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Leave the first unanswered."""
    for seen in arrived[1:]:
        connection.answer(seen.stream_id, 200)


def answer_at_length(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Answer the first with headers longer than a frame."""
    connection.answer(arrived[0].stream_id, 200, apns_unique_id="x" * 30_000)  # Huffman-coded, still over 16,384
    for seen in arrived[1:]:
        connection.answer(seen.stream_id, 200)


def answer_late(connection: ServerConnection, seen: SeenRequest) -> None:
    """Answer after the deadline."""

    def answer() -> None:
        if connection.is_open:
            connection.write(plain_answer(seen.stream_id))

    asyncio.get_running_loop().call_later(IMPATIENT_S + 0.1, answer)


def answer_backwards(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Answer the last first."""
    for seen in reversed(arrived):
        connection.answer(seen.stream_id, 200)


def reset(error_code: ErrorCodes) -> OnRequest:
    """Reset the stream."""
    return lambda connection, seen: connection.reset(seen.stream_id, error_code)


def cut_body(connection: ServerConnection, seen: SeenRequest) -> None:
    """Send a status, then reset the stream."""
    connection.h2.send_headers(seen.stream_id, [(":status", "410")])
    connection.flush()
    connection.reset(seen.stream_id, ErrorCodes.INTERNAL_ERROR)


def interim(connection: ServerConnection, seen: SeenRequest) -> None:
    """Send an interim response, then the answer."""
    connection.h2.send_headers(seen.stream_id, [(":status", "103")])
    connection.answer(seen.stream_id, 200)


def padded(connection: ServerConnection, seen: SeenRequest) -> None:
    """Pad the body."""
    connection.h2.send_headers(seen.stream_id, [(":status", "410")])
    connection.h2.send_data(seen.stream_id, b'{"reason":"Unregistered"}', end_stream=True, pad_length=200)
    connection.flush()


def leave_half(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Warn, take half of the pushes and disclaim the others."""
    half = PUSHES // 2
    connection.go_away(2**31 - 1)
    connection.go_away(arrived[half - 1].stream_id, b'{"reason":"Shutdown"}')
    for seen in arrived[:half]:
        connection.answer(seen.stream_id, 200)


def leave_unserved(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Disclaim all pushes and close."""
    connection.go_away(arrived[0].stream_id - 2)
    connection.hang_up()


def leave_and_stay_silent(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Take all pushes, go away, and answer none."""
    connection.go_away(arrived[-1].stream_id)


def write_after_answers(raw: bytes) -> OnAll:
    """Answer all, with other bytes behind in the same write."""

    def write(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
        connection.write(b"".join(plain_answer(seen.stream_id) for seen in arrived) + raw)

    return write


def slow_down(connection: ServerConnection, arrived: list[SeenRequest]) -> None:
    """Do what Apple does after an expired provider token."""
    connection.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    connection.answer(arrived[0].stream_id, 403, b'{"reason":"ExpiredProviderToken"}')
    for seen in arrived[1:]:
        connection.reset(seen.stream_id, ErrorCodes.REFUSED_STREAM)


def change_table(connection: ServerConnection, seen: SeenRequest) -> None:
    """Change HEADER_TABLE_SIZE to and fro."""
    connection.settings({SettingCodes.HEADER_TABLE_SIZE: 0 if seen.stream_id % 4 == 1 else 4096})
    connection.answer(seen.stream_id, 200, apns_id=seen.headers["apns-id"])


def fall_deaf(connection: ServerConnection, _seen: SeenRequest) -> None:
    """Read nothing more."""
    connection.is_deaf = True


def expired(connection: ServerConnection, seen: SeenRequest) -> None:
    """Say that the provider token has expired."""
    connection.answer(seen.stream_id, 403, b'{"reason":"ExpiredProviderToken"}')
