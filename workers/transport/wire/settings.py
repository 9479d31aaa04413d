"""State our settings, and read those of a server.

Source: RFC 9113 sections 6.5 and 6.5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from workers.transport.wire.answer_decoder import MAX_LIST_BYTES
from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.frames import (
    LARGEST_FRAME_BYTES,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    ErrorCode,
    SettingCode,
)

_SETTING: Final = struct.Struct(">HI")

#: A table of no bytes makes the server's headers readable one by one; a server that pushes breaks the protocol.
OUR_SETTINGS: Final = {
    SettingCode.HEADER_TABLE_SIZE: 0,
    SettingCode.ENABLE_PUSH: 0,
    SettingCode.MAX_HEADER_LIST_SIZE: MAX_LIST_BYTES,
}

#: APNs allows one stream until it has seen a valid provider token, so until it has said anything one is safe.
FIRST_STREAM_LIMIT: Final = 1

#: For a server that states no limit; APNs always has.
UNSTATED_STREAM_LIMIT: Final = 1_000

#: Smallest and largest value, and the error code of any other. A server that would push must not say so to a client.
_ALLOWED: Final = {
    SettingCode.ENABLE_PUSH: (0, 0, ErrorCode.PROTOCOL_ERROR),
    SettingCode.INITIAL_WINDOW_SIZE: (0, MAX_WINDOW_BYTES, ErrorCode.FLOW_CONTROL_ERROR),
    SettingCode.MAX_FRAME_SIZE: (MAX_FRAME_BYTES, LARGEST_FRAME_BYTES, ErrorCode.PROTOCOL_ERROR),
}


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield code and value of each setting in its order, known or not; one code may come more than once.

    Raises:
        ProtocolError: The frame has a wrong length, or a value is not allowed.
    """
    if len(payload) % _SETTING.size:
        raise ProtocolError("SETTINGS of a wrong length", ErrorCode.FRAME_SIZE_ERROR)
    for code, value in _SETTING.iter_unpack(payload):
        smallest, largest, error_code = _ALLOWED.get(code, (0, value, ErrorCode.NO_ERROR))
        if not smallest <= value <= largest:
            raise ProtocolError(f"SETTINGS {code} of {value}", error_code)
        yield code, value
