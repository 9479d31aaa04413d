"""Encode the headers of pushes: what stays the same is one octet a header, what differs is a literal.

`authorization` goes into the dynamic table like the other constants: at over 200 octets it is the longest header, and
Apple says of it that it "can be indexed" (another page asks for a literal; no effect of either was ever seen). The
table lives as long as its connection, which carries requests of this process only, so nobody can probe it.

Source: RFC 7541 sections 4.2, 6 and 7.1; "Establishing a connection to APNs"; "Sending notification requests to APNs".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workers.transport.wire.errors import HeadersTooLarge
from workers.transport.wire.frames import DEFAULT_TABLE_BYTES
from workers.transport.wire.header_table import HeaderTable, encode_integer, encode_text, entry_size
from workers.transport.wire.request import WireRequest

#: Names of the static table that a push has (RFC 7541 appendix A).
_STATIC_NAMES: Final = {b":authority": 1, b"authorization": 23}

#: `:method: POST` and `:scheme: https`, both static.
_METHOD_AND_SCHEME: Final = b"\x83\x87"

#: The name `:path`, static; its value differs with each push, so it never enters the table.
_PATH: Final = b"\x04"

_INDEXED: Final = (7, 0x80)
_INSERTED: Final = (6, 0x40)
_NOT_INSERTED: Final = (4, 0x00)
_RESIZED: Final = (5, 0x20)

#: The fields of every push, without the values that differ between pushes or connections.
_ALWAYS_THERE: Final = (
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":path", b""),
    (b":authority", b""),
    (b"authorization", b""),
    (b"apns-topic", b""),
    (b"apns-push-type", b""),
    (b"apns-priority", b""),
    (b"apns-id", b""),
)

#: A bound on what a server that allows no table can make us remember.
_MAX_TEMPLATES: Final = 256

_Constants = tuple[bytes, bytes, bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """What blocks with the same constants share, for as long as the table stays as it is.

    Attributes:
        apns_id: The reference to the name.
        expiration: So; None when the table should first be given the name.
        collapse_id: As `expiration`.
    """

    head: bytes
    middle: bytes
    apns_id: bytes
    expiration: bytes | None
    collapse_id: bytes | None


class RequestEncoder:
    """Turns requests into header blocks, which must be sent in the order they were made.

    Attributes:
        table: The dynamic table of the server's decoder, once it has read all blocks.
        max_list_bytes: What the server accepts; None when it has not said.
    """

    def __init__(self, authority: bytes) -> None:
        self.table = HeaderTable(DEFAULT_TABLE_BYTES)
        self.max_list_bytes: int | None = None
        self._authority = authority
        self._fixed_list_bytes = len(authority) + sum(entry_size(name, value) for name, value in _ALWAYS_THERE)
        self._templates: dict[_Constants, _Template] = {}
        self._smallest_bytes: int | None = None

    def limit_table(self, max_bytes: int) -> None:
        """Obey the server's HEADER_TABLE_SIZE; the next block will say so. More than 4,096 is never used."""
        max_bytes = min(max_bytes, DEFAULT_TABLE_BYTES)
        if max_bytes == self.table.max_bytes:
            return
        self._smallest_bytes = max_bytes if self._smallest_bytes is None else min(self._smallest_bytes, max_bytes)
        self.table.resize(max_bytes)
        self._templates.clear()

    def encode(self, request: WireRequest) -> bytes:
        """Return the header block of a request.

        Raises:
            HeadersTooLarge: The server would not accept it; the table is as before.
        """
        if self.max_list_bytes is not None:
            self._check_list_size(request, self.max_list_bytes)
        constants = (request.authorization, request.topic, request.push_type, request.priority)
        template = self._templates.get(constants)
        block = None if template is None else _fill(template, request)
        return self._encode_anew(request, constants) if block is None else block

    def _check_list_size(self, request: WireRequest, max_bytes: int) -> None:
        size_bytes = (
            self._fixed_list_bytes
            + len(request.path)
            + len(request.authorization)
            + len(request.topic)
            + len(request.push_type)
            + len(request.priority)
            + len(request.apns_id)
        )
        if request.expiration is not None:
            size_bytes += entry_size(b"apns-expiration", request.expiration)
        if request.collapse_id is not None:
            size_bytes += entry_size(b"apns-collapse-id", request.collapse_id)
        if size_bytes > max_bytes:
            raise HeadersTooLarge(f"{size_bytes} bytes of headers, the server accepts {max_bytes}")

    def _encode_anew(self, request: WireRequest, constants: _Constants) -> bytes:
        parts = [self._size_updates(), _METHOD_AND_SCHEME, self._constant(b":authority", self._authority)]
        parts += [_PATH, encode_text(request.path)]
        parts += [self._constant(name, value) for name, value in _constant_fields(constants)]
        parts += [self._varying(name, value) for name, value in _varying_fields(request)]
        self._remember(request, constants)
        return b"".join(parts)

    def _size_updates(self) -> bytes:
        # Between two blocks the server must be told the smallest size there was and the last (RFC 7541 section 4.2).
        smallest_bytes, self._smallest_bytes = self._smallest_bytes, None
        if smallest_bytes is None:
            return b""
        sizes = dict.fromkeys((smallest_bytes, self.table.max_bytes))
        return b"".join(encode_integer(size_bytes, *_RESIZED) for size_bytes in sizes)

    def _constant(self, name: bytes, value: bytes) -> bytes:
        index = self.table.index(name, value)
        return self._insert(name, value) if index is None else encode_integer(index, *_INDEXED)

    def _varying(self, name: bytes, value: bytes) -> bytes:
        if self._name_index(name) is None:
            return self._insert(name, value)
        return self._name(name, _NOT_INSERTED) + encode_text(value)

    def _insert(self, name: bytes, value: bytes) -> bytes:
        if not self.table.fits(name, value):
            return self._name(name, _NOT_INSERTED) + encode_text(value)
        field = self._name(name, _INSERTED) + encode_text(value)
        self.table.add(name, value)
        self._templates.clear()
        return field

    def _name_index(self, name: bytes) -> int | None:
        return _STATIC_NAMES.get(name) or self.table.name_index(name)

    def _name(self, name: bytes, form: tuple[int, int]) -> bytes:
        index = self._name_index(name)
        return encode_integer(0, *form) + encode_text(name) if index is None else encode_integer(index, *form)

    # -- what the next block with the same constants will look like

    def _remember(self, request: WireRequest, constants: _Constants) -> None:
        authority = self._settled(b":authority", self._authority)
        settled = [self._settled(name, value) for name, value in _constant_fields(constants)]
        apns_id = self._settled_name(b"apns-id", request.apns_id)
        if authority is None or apns_id is None or None in settled:
            return
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[constants] = _Template(
            head=_METHOD_AND_SCHEME + authority + _PATH,
            middle=b"".join(field for field in settled if field is not None),
            apns_id=apns_id,
            expiration=self._settled_name(b"apns-expiration", request.expiration),
            collapse_id=self._settled_name(b"apns-collapse-id", request.collapse_id),
        )

    def _settled(self, name: bytes, value: bytes) -> bytes | None:
        index = self.table.index(name, value)
        if index is not None:
            return encode_integer(index, *_INDEXED)
        # Too long for the table: a literal this time and every time. Otherwise it was pushed out, and is due again.
        return None if self.table.fits(name, value) else self._name(name, _NOT_INSERTED) + encode_text(value)

    def _settled_name(self, name: bytes, value: bytes | None) -> bytes | None:
        is_due = self._name_index(name) is None and (value is None or self.table.fits(name, value))
        return None if is_due else self._name(name, _NOT_INSERTED)


def _fill(template: _Template, request: WireRequest) -> bytes | None:
    block = (
        template.head + encode_text(request.path) + template.middle + template.apns_id + encode_text(request.apns_id)
    )
    if request.expiration is not None:
        if template.expiration is None:
            return None
        block += template.expiration + encode_text(request.expiration)
    if request.collapse_id is not None:
        if template.collapse_id is None:
            return None
        block += template.collapse_id + encode_text(request.collapse_id)
    return block


def _constant_fields(constants: _Constants) -> list[tuple[bytes, bytes]]:
    return list(zip((b"authorization", b"apns-topic", b"apns-push-type", b"apns-priority"), constants, strict=True))


def _varying_fields(request: WireRequest) -> list[tuple[bytes, bytes]]:
    fields = [(b"apns-id", request.apns_id)]
    if request.expiration is not None:
        fields.append((b"apns-expiration", request.expiration))
    if request.collapse_id is not None:
        fields.append((b"apns-collapse-id", request.collapse_id))
    return fields
