"""The HPACK dynamic table as the server's decoder has it, and the words HPACK is written in.

Source: RFC 7541 sections 2.3, 4 and 5.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: What an entry takes beside its name and value (section 4.1).
ENTRY_OVERHEAD_BYTES: Final = 32

#: The first dynamic entry comes after the static table (section 2.3.3).
_FIRST_INDEX: Final = 62

_SHORT: Final = tuple(bytes((length,)) for length in range(127))


def entry_size(name: bytes, value: bytes) -> int:
    """Return what a field takes in the table, and of the server's header list limit."""
    return len(name) + len(value) + ENTRY_OVERHEAD_BYTES


def encode_integer(number: int, prefix_bits: int, pattern: int) -> bytes:
    """Write a number into the low bits of an octet, with `pattern` in the others, and beyond (section 5.1)."""
    limit = (1 << prefix_bits) - 1
    if number < limit:
        return bytes((pattern | number,))
    octets = bytearray((pattern | limit,))
    number -= limit
    while number > 0x7F:  # noqa: PLR2004 - seven bits in each octet
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def encode_text(text: bytes) -> bytes:
    """Write a string without Huffman coding, which would cost more time than it saves (section 5.2)."""
    size = len(text)
    return _SHORT[size] + text if size < len(_SHORT) else encode_integer(size, 7, 0) + text


class HeaderTable:
    """First in, first out, bounded in bytes; every look-up takes the same time.

    Attributes:
        max_bytes: What its entries may take together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._size_bytes = 0
        # Entries are numbered as they come, so that an index is a subtraction; the newest of equals counts.
        self._inserted = 0
        self._evicted = 0
        self._number_of_field: dict[tuple[bytes, bytes], int] = {}
        self._number_of_name: dict[bytes, int] = {}

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Return the entries, the newest first, as the server numbers them."""
        return list(self._entries)

    def fits(self, name: bytes, value: bytes) -> bool:
        """Tell whether a field can be an entry at all; adding one that cannot would empty the table."""
        return entry_size(name, value) <= self.max_bytes

    def index(self, name: bytes, value: bytes) -> int | None:
        """Return the index of a field, None when it is not there."""
        number = self._number_of_field.get((name, value))
        return None if number is None else _FIRST_INDEX + self._inserted - 1 - number

    def name_index(self, name: bytes) -> int | None:
        """Return the index of an entry with this name, None when there is none."""
        number = self._number_of_name.get(name)
        return None if number is None else _FIRST_INDEX + self._inserted - 1 - number

    def add(self, name: bytes, value: bytes) -> None:
        """Insert a field that fits; the oldest make room for it."""
        size_bytes = entry_size(name, value)
        self._evict_down_to(self.max_bytes - size_bytes)
        self._entries.appendleft((name, value))
        self._size_bytes += size_bytes
        self._number_of_field[name, value] = self._number_of_name[name] = self._inserted
        self._inserted += 1

    def resize(self, max_bytes: int) -> None:
        """Change what the entries may take; the oldest go when it is less than they do."""
        self.max_bytes = max_bytes
        self._evict_down_to(max_bytes)

    def _evict_down_to(self, size_bytes: int) -> None:
        while self._size_bytes > size_bytes:
            name, value = field = self._entries.pop()
            if self._number_of_field[field] == self._evicted:
                del self._number_of_field[field]
            if self._number_of_name[name] == self._evicted:
                del self._number_of_name[name]
            self._size_bytes -= entry_size(name, value)
            self._evicted += 1
