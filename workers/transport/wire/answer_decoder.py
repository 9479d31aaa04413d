"""Decode the headers of answers: a plain 200 by looking, everything else with the `hpack` library.

Looking is allowed where decoding would not change the dynamic table, so that the table is always what the server thinks
it is: after a block was skipped, whether the server follows our HEADER_TABLE_SIZE of 0 or keeps using its 4,096 bytes.

Source: RFC 7541 section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hpack import Decoder, HPACKError

from workers.transport.wire.errors import ProtocolError
from workers.transport.wire.frames import ErrorCode

#: The most that the headers of one answer may take, decoded.
MAX_LIST_BYTES: Final = 65_536

NO_HEADERS: Final[Mapping[bytes, bytes]] = MappingProxyType({})

#: `:status: 200` in the static table.
_STATUS_200: Final = 0x88
_PLAIN: Final = b"\x88"

#: Patterns of fields, and prefixes so full that the number goes on in the next octet.
_INSERTED: Final = 0x40
_RESIZED: Final = 0x20
_NAME_CONTINUES: Final = 0x0F
_SIZE_CONTINUES: Final = 0x7F

#: From here on the static table holds names of ordinary headers; before, pseudo-headers.
_FIRST_ORDINARY: Final = 15
_LAST_STATIC: Final = 61


class AnswerDecoder:
    """Turns header blocks, in the order they came, into headers."""

    def __init__(self) -> None:
        # Its default of 4,096 bytes stays allowed: a server that does not follow our setting does no harm.
        self._hpack = Decoder(max_header_list_size=MAX_LIST_BYTES)

    def is_plain_200(self, block: bytes) -> bool:
        """Tell whether a block is `:status: 200` and headers that leave the table alone; then it is done with."""
        if block == _PLAIN:
            return True
        return bool(block) and block[0] == _STATUS_200 and _leaves_table_alone(block, self._hpack.header_table.maxsize)

    def decode(self, block: bytes) -> dict[bytes, bytes]:
        """Return the headers in a block, `:status` with them; of equal names the last.

        Raises:
            ProtocolError: The block is broken or its content too long; the table is lost.
        """
        try:
            return {bytes(name): bytes(value) for name, value in self._hpack.decode(block, raw=True)}
        except HPACKError as exc:
            raise ProtocolError(f"header block: {type(exc).__name__}", ErrorCode.COMPRESSION_ERROR) from exc


def _leaves_table_alone(block: bytes, table_bytes: int) -> bool:
    """Walk over the fields after the first; anything out of the ordinary is left to the library, and its complaints."""
    position, end = 1, len(block)
    while position < end:
        first = block[position]
        position += 1
        if first & 0x80:
            if not _FIRST_ORDINARY <= first & 0x7F <= _LAST_STATIC:
                return False
            continue
        # An insertion changes nothing in a table of no bytes; 001 is a change of its size.
        if (first & _INSERTED and table_bytes) or first & 0x60 == _RESIZED:
            return False
        name = first & (0x3F if first & _INSERTED else _NAME_CONTINUES)
        if name == _NAME_CONTINUES and not first & _INSERTED and position < end:
            name += block[position]
            position += 1
        if name == 0:
            position = _after_text(block, position)
        elif not _FIRST_ORDINARY <= name <= _LAST_STATIC:
            return False
        position = _after_text(block, position)
    return position == end


def _after_text(block: bytes, position: int) -> int:
    """Return where a string of up to 126 octets ends; beyond the block for any other."""
    if position >= len(block):
        return len(block) + 1
    size = block[position] & 0x7F
    return position + 1 + size if size < _SIZE_CONTINUES else len(block) + 1
