"""Name what stands in HTTP/2 frames, and build the ones a client sends.

Source: RFC 9113 sections 4.1, 6 and 7.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: What either side may send before it has heard of the other's settings (section 6.5.2).
DEFAULT_WINDOW_BYTES: Final = 65_535
DEFAULT_TABLE_BYTES: Final = 4_096

#: What every peer accepts, and we do. A server may allow larger frames, but no push gains by them.
MAX_FRAME_BYTES: Final = 16_384

MAX_WINDOW_BYTES: Final = 2**31 - 1
LARGEST_FRAME_BYTES: Final = 2**24 - 1
LAST_STREAM_ID: Final = 2**31 - 1

FRAME_HEADER_BYTES: Final = 9

#: Length and type share the first four bytes, so one call packs the header of a frame.
_HEADER: Final = struct.Struct(">IBI")
_WORD: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")
pack_header: Final = _HEADER.pack
unpack_header: Final = _HEADER.unpack_from

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
PRIORITISED: Final = 0x20


class FrameType(IntEnum):
    """Types of frames; a type that is not here is ignored."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class SettingCode(IntEnum):
    """Settings of a connection; one that is not here is ignored."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


def frame(kind: FrameType, *, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """Build any frame."""
    return pack_header(len(payload) << 8 | kind, flags, stream_id) + payload


def settings_frame(values: Mapping[SettingCode, int]) -> bytes:
    """Build the frame that tells the server our settings."""
    return frame(FrameType.SETTINGS, payload=b"".join(_SETTING.pack(*item) for item in values.items()))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Build the frame that returns credit; stream 0 is the connection."""
    return frame(FrameType.WINDOW_UPDATE, stream_id=stream_id, payload=_WORD.pack(increment))


def reset_frame(stream_id: int, error_code: int) -> bytes:
    """Build the frame that ends a stream."""
    return frame(FrameType.RST_STREAM, stream_id=stream_id, payload=_WORD.pack(error_code))


def goaway_frame(error_code: int) -> bytes:
    """Build the goodbye of a client, which never has a stream of the server's to name."""
    return frame(FrameType.GOAWAY, payload=_WORD.pack(0) + _WORD.pack(error_code))


def headers_frames(stream_id: int, block: bytes, *, end_stream: bool) -> bytes:
    """Build HEADERS, and as many CONTINUATION frames as the block needs."""
    if len(block) <= MAX_FRAME_BYTES:
        return pack_header(len(block) << 8 | 1, END_HEADERS | end_stream, stream_id) + block
    parts = [block[start : start + MAX_FRAME_BYTES] for start in range(0, len(block), MAX_FRAME_BYTES)]
    frames = [frame(FrameType.HEADERS, flags=int(end_stream), stream_id=stream_id, payload=parts[0])]
    frames += [frame(FrameType.CONTINUATION, stream_id=stream_id, payload=part) for part in parts[1:-1]]
    frames.append(frame(FrameType.CONTINUATION, flags=END_HEADERS, stream_id=stream_id, payload=parts[-1]))
    return b"".join(frames)
