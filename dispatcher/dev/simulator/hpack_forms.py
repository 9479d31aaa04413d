"""The ways in which a server may compress the headers of its answers; a client has to read them all.

Source: RFC 7541 section 6 (binary format), section 4.2 (maximum table size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from hpack import Encoder
from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_LENGTH_PREFIX_BITS: Final = 7
_NAME_INDEX_BITS: Final = 4
_HUFFMAN_BIT: Final = 0x80
_NEVER_INDEXED: Final = b"\x10"
_NOT_INDEXED: Final = b"\x00"
#: Dynamic table size update to 0. Source: RFC 7541 section 6.3.
_TABLE_SIZE_ZERO: Final = b"\x20"
#: The static table's entry for the name :status.
_STATUS_NAME_INDEX: Final = 8
_HUFFMAN: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

Fields = Iterable[tuple[str, str] | tuple[bytes, bytes]]


class HpackForm(StrEnum):
    """How the fields of an answer are written."""

    INDEXED = "indexed"
    LITERAL = "literal"
    HUFFMAN = "huffman"
    NEVER_INDEXED = "never_indexed"
    NAME_INDEXED = "name_indexed"
    TABLE_SIZE_ZERO = "table_size_zero"


class LiteralEncoder(Encoder):
    """Writes every field as a literal, and never uses the dynamic table."""

    def __init__(self, form: HpackForm) -> None:
        super().__init__()
        self._write = _WRITERS[form]
        self._prefix = _TABLE_SIZE_ZERO if form is HpackForm.TABLE_SIZE_ZERO else b""

    def encode(self, headers: Any, huffman: bool = True) -> bytes:  # noqa: ARG002, FBT001, FBT002 (hpack's interface)
        """Return the header block."""
        self.header_table.resized = False
        return self._prefix + b"".join(self._write(_to_bytes(name), _to_bytes(value)) for name, value in headers)


def make_encoder(form: HpackForm) -> Encoder | None:
    """Return an encoder that writes a form; None for h2's own, which indexes what it can."""
    return None if form is HpackForm.INDEXED else LiteralEncoder(form)


def _to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _plain(text: bytes) -> bytes:
    return bytes(encode_integer(len(text), _LENGTH_PREFIX_BITS)) + text


def _huffman(text: bytes) -> bytes:
    coded = _HUFFMAN.encode(text)
    length = encode_integer(len(coded), _LENGTH_PREFIX_BITS)
    length[0] |= _HUFFMAN_BIT
    return bytes(length) + coded


def _name_indexed(name: bytes, value: bytes) -> bytes:
    if name == b":status":
        return bytes(encode_integer(_STATUS_NAME_INDEX, _NAME_INDEX_BITS)) + _plain(value)
    return _NOT_INDEXED + _plain(name) + _huffman(value)


_WRITERS: Final[Mapping[HpackForm, Callable[[bytes, bytes], bytes]]] = {
    HpackForm.LITERAL: lambda name, value: _NOT_INDEXED + _plain(name) + _plain(value),
    HpackForm.HUFFMAN: lambda name, value: _NOT_INDEXED + _huffman(name) + _huffman(value),
    HpackForm.NEVER_INDEXED: lambda name, value: _NEVER_INDEXED + _huffman(name) + _plain(value),
    HpackForm.NAME_INDEXED: _name_indexed,
    HpackForm.TABLE_SIZE_ZERO: lambda name, value: _NOT_INDEXED + _plain(name) + _huffman(value),
}
