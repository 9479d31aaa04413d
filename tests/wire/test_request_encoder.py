"""Header blocks of requests, read by the `hpack` library as a server would."""

from __future__ import annotations

from typing import Final

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.pushes import AUTHORITY, fields_of, make_request
from workers.transport.wire.header_table import HeaderTable, encode_integer, encode_text
from workers.transport.wire.request import WireRequest
from workers.transport.wire.request_encoder import RequestEncoder

#: What of a header block is not path, apns-id, expiration or collapse id once the constants are in the table.
SHORT: Final = 20


class Ends:
    """An encoder and the decoder at the other end."""

    def __init__(self) -> None:
        self.encoder = RequestEncoder(AUTHORITY.encode())
        self.decoder = Decoder()

    def send(self, request: WireRequest) -> bytes:
        """Encode, decode and compare a request and the tables; return the block."""
        block = self.encoder.encode(request)
        read = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]
        assert sorted(read) == fields_of(request)
        assert [name for name, _value in read[:4]] == [b":method", b":scheme", b":authority", b":path"]
        assert self.encoder.table.entries() == list(self.decoder.header_table.dynamic_entries)
        return block

    def limit(self, *sizes: int) -> None:
        """Change HEADER_TABLE_SIZE, as often as given, between two blocks."""
        for size in sizes:
            self.encoder.limit_table(size)
        self.decoder.max_allowed_table_size = sizes[-1]


@pytest.mark.parametrize(
    ("number", "prefix_bits", "written"),
    [(10, 5, b"\x0a"), (1337, 5, b"\x1f\x9a\x0a"), (42, 8, b"\x2a"), (31, 5, b"\x1f\x00"), (127, 7, b"\x7f\x00")],
)
def test_integers_of_the_standard(number: int, prefix_bits: int, written: bytes) -> None:
    """The examples of RFC 7541 appendix C.1, and numbers that just fill their prefix."""
    assert encode_integer(number, prefix_bits, 0) == written


def test_text_that_fills_its_prefix() -> None:
    """A string of 127 octets has a length of two octets, one of 126 has one."""
    assert encode_text(b"a" * 126) == b"\x7e" + b"a" * 126
    assert encode_text(b"a" * 127) == b"\x7f\x00" + b"a" * 127


def test_constants_cost_one_octet() -> None:
    """From the second push on, what is constant is one octet a header."""
    ends = Ends()
    ends.send(make_request(1, expiration=b"1800000000"))
    request = make_request(2, expiration=b"1800000001")
    varying = len(request.path) + len(request.apns_id) + 10
    assert len(ends.send(request)) - varying < SHORT


def test_what_varies_is_never_inserted_again() -> None:
    """Path, apns-id, expiration and collapse id enter the table at most once, the path never."""
    ends = Ends()
    for number in range(50):
        ends.send(make_request(number, expiration=b"%d" % number, collapse_id=b"c%d" % number))
    names = [name for name, _value in ends.encoder.table.entries()]
    assert b":path" not in names
    assert len(names) == len(set(names)) == 8


def test_first_expiration_after_others_had_none() -> None:
    """A header that turns up later is inserted then."""
    ends = Ends()
    for number in (None, None, b"1800000000", b"1800000001", None):
        ends.send(make_request(expiration=number))
    for number in (None, b"c1", b"c2", None):
        ends.send(make_request(collapse_id=number))
    assert (b"apns-expiration", b"1800000000") in ends.encoder.table.entries()
    assert (b"apns-collapse-id", b"c1") in ends.encoder.table.entries()


def test_rotation_of_the_provider_token() -> None:
    """Each new provider token is inserted once; the oldest entries go, and come back when they are used next."""
    ends = Ends()
    for rotation in range(40):
        authorization = b"bearer %04d" % rotation + b"j" * 200
        blocks = [ends.send(make_request(number, authorization=authorization)) for number in range(3)]
        assert authorization in [value for _name, value in ends.encoder.table.entries()]
        assert len(blocks[2]) < 140
    table = ends.encoder.table.entries()
    assert (b":authority", AUTHORITY.encode()) in table
    assert b"bearer 0000" + b"j" * 200 not in [value for _name, value in table]


def test_table_changes_are_announced() -> None:
    """The next block begins with the smallest size there was and the last, and only that block."""
    ends = Ends()
    ends.send(make_request(1))
    ends.limit(100, 3_000)
    block = ends.send(make_request(2))
    assert block.startswith(encode_integer(100, 5, 0x20) + encode_integer(3_000, 5, 0x20))
    assert not ends.send(make_request(3)).startswith(b"\x3f")
    ends.limit(200)
    assert ends.send(make_request(4)).startswith(encode_integer(200, 5, 0x20) + b"\x83")


def test_more_than_the_default_is_not_used() -> None:
    """A server may offer a larger table; ours stays at 4,096 bytes, so there is nothing to announce."""
    ends = Ends()
    ends.limit(65_536)
    assert ends.send(make_request()).startswith(b"\x83\x87")


@pytest.mark.parametrize("size", [0, 40, 60, 100, 200, 300, 400, 600])
def test_small_tables(size: int) -> None:
    """With a table too small for some of the constants, or all, every block is still read right."""
    ends = Ends()
    ends.send(make_request(1))
    ends.limit(size)
    for number in range(5):
        ends.send(make_request(number, expiration=b"0", collapse_id=b"c" * 64))
    ends.limit(4_096)
    ends.send(make_request(6))
    assert len(ends.send(make_request(7))) < 140


def test_many_constants_without_a_table() -> None:
    """Without a table, ever new provider tokens are sent right, one after the other."""
    ends = Ends()
    ends.limit(0)
    for number in range(600):
        ends.send(make_request(number, authorization=b"bearer %d" % number))
    assert ends.send(make_request(authorization=b"bearer 0"))


REQUESTS: Final = st.builds(
    make_request,
    st.integers(0, 9),
    authorization=st.sampled_from([b"bearer a", b"bearer b" + b"j" * 300, b"bearer c" + b"j" * 5_000]),
    topic=st.sampled_from([b"com.example.%d" % number for number in range(12)]),
    push_type=st.sampled_from([b"alert", b"background", b"voip"]),
    expiration=st.sampled_from([None, b"0", b"1800000000"]),
    collapse_id=st.one_of(st.none(), st.binary(max_size=200)),
)
SIZES: Final = st.lists(st.sampled_from([0, 33, 50, 90, 250, 330, 500, 1_000, 4_096, 8_192]), min_size=1, max_size=3)


@given(steps=st.lists(st.one_of(REQUESTS, SIZES), max_size=30))
def test_any_requests_and_sizes(steps: list[WireRequest | list[int]]) -> None:
    """Whatever is sent, with whatever table, both ends have the same table and the same headers."""
    ends = Ends()
    for step in steps:
        if isinstance(step, WireRequest):
            ends.send(step)
        else:
            ends.limit(*step)


@given(
    fields=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=3)), max_size=60),
    size=st.integers(40, 200),
)
def test_table_finds_the_newest(fields: list[tuple[bytes, bytes]], size: int) -> None:
    """An index leads to an equal field, the newest there is, or there is none; so with names."""
    table = HeaderTable(size)
    for name, value in fields:
        table.add(name, value)
        entries = table.entries()
        for field in set(fields):
            expected = 62 + entries.index(field) if field in entries else None
            assert table.index(*field) == expected
            names = [entry[0] for entry in entries]
            assert table.name_index(field[0]) == (62 + names.index(field[0]) if field[0] in names else None)
