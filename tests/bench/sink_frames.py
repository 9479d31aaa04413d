"""What the sink reads and says, without a socket: it looks at frame headers, and accepts every request that ended.

Stock aioapns matches answers by apns-id, so an id that begins with `BENCH_ID_PREFIX` is copied into the answer as it
was encoded, without being decoded. Other ids are not repeated.

Source: RFC 9113 section 4.1 (frames), RFC 7541 section 6 (header fields).
"""

from __future__ import annotations

import struct
from typing import Final

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

#: What apns-ids that answers repeat begin with.
BENCH_ID_PREFIX: Final = "00000000-0000-4000-8000-"
#: How many streams the sink allows on a connection, from the start.
MAX_STREAMS: Final = 1000

_PREFACE_BYTES: Final = 24
_FRAME_HEADER: Final = struct.Struct(">HBBBL")
_FRAME_HEADER_BYTES: Final = 9
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_STREAM_AND_HEADERS: Final = 0x5
_STATUS_200: Final = b"\x88"
_APNS_ID_NAME: Final = b"\x00\x07apns-id"
_SETTINGS_BODY: Final = struct.pack(">HL", 3, MAX_STREAMS)
#: More than any benchmark sends on one connection, so that credit for it is given once.
_CREDIT: Final = struct.pack(">L", 2**31 - 1 - 65_535)
_LENGTH_BITS: Final = 0x7F


def _frame(kind: int, flags: int, stream_id: int, body: bytes) -> bytes:
    return _FRAME_HEADER.pack(len(body) >> 8, len(body) & 0xFF, kind, flags, stream_id) + body


#: What the sink says first.
GREETING: Final = _frame(_SETTINGS, 0, 0, _SETTINGS_BODY) + _frame(8, 0, 0, _CREDIT)
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


class RequestReader:
    """Reads what one client sends."""

    def __init__(self) -> None:
        self._unread = b""
        self._with_ids: dict[int, bytes] = {}
        self._is_greeted = False

    def feed(self, raw: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return what to write for the connection, and the answer to every request that ended in what was read."""
        unread = self._unread + raw
        if not self._is_greeted:
            if len(unread) < _PREFACE_BYTES:
                self._unread = unread
                return [], []
            self._is_greeted = True
            unread = unread[_PREFACE_BYTES:]
        return self._read_frames(unread)

    def _read_frames(self, unread: bytes) -> tuple[list[bytes], list[bytes]]:
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
