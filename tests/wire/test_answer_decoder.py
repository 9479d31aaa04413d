"""The short cut for a plain 200, against the `hpack` library."""

from __future__ import annotations

from typing import Final

import pytest
from hpack import Decoder, HPACKError
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.wire.answer_decoder import AnswerDecoder

#: Fields as they can be written, whole ones and pieces of ones.
PIECES: Final = st.one_of(
    st.sampled_from(
        [
            b"\x88",
            b"\x8d",
            b"\x90",
            b"\x20",
            b"\x3f\x45",
            b"\x00\x01a\x01b",
            b"\x10\x01a\x01b",
            b"\x40\x01a\x01b",
            b"\x0f\x0d\x010",
            b"\x1f\x2e\x00",
            b"\x5c\x010",
            b"\x0f\x2f\x01v",
            b"\xbe",
            b"\x7e\x01v",
            b"\x04\x01/",
            b"\x44\x01/",
            b"\x00\x01a\x7f\x00" + b"b" * 127,
        ]
    ),
    st.binary(max_size=3),
)


@given(blocks=st.lists(st.lists(PIECES, max_size=6).map(b"".join), max_size=6), has_table=st.booleans())
def test_the_short_cut_agrees_with_the_library(blocks: list[bytes], *, has_table: bool) -> None:
    """What is taken for a plain 200 is one, and leaves the table as the library would."""
    decoder, library = AnswerDecoder(), Decoder()
    for block in [b"" if has_table else b"\x20\x88", *[b"\x88" + block for block in blocks]]:
        try:
            fields = list(library.decode(block, raw=True))
        except HPACKError:
            return
        if decoder.is_plain_200(block):
            assert dict(fields)[b":status"] == b"200"
            assert sum(bytes(name).startswith(b":") for name, _value in fields) == 1
        else:
            assert decoder.decode(block) == dict(fields)
        table = decoder._hpack.header_table  # noqa: SLF001 - no caller needs to know, only this proof
        assert table.dynamic_entries == library.header_table.dynamic_entries


@pytest.mark.parametrize(
    ("block", "is_plain"),
    [
        (b"", False),
        (b"\x88", True),
        (b"\x89", False),
        (b"\x88\x00\x01a\x01b", True),
        (b"\x88\x40\x01a\x01b", False),
        (b"\x88\x00\x01a\x02b", False),
        (b"\x88\x00\x01a", False),
        (b"\x88\x00", False),
        (b"\x88\x0f", False),
        (b"\x88\x88", False),
        (b"\x88\x04\x01/", False),
        (b"\x88\x20", False),
        (b"\x88\x20\x01a\x01b", False),
        (b"\x88\x00\x01a\x7f\x00" + b"b" * 127, False),
    ],
)
def test_what_is_plain(block: bytes, *, is_plain: bool) -> None:
    """Only a block that is whole, simple and leaves the table alone takes the short cut."""
    assert AnswerDecoder().is_plain_200(block) is is_plain


def test_insertions_into_no_table() -> None:
    """Once the server has set its table to nothing, what it inserts changes nothing."""
    decoder = AnswerDecoder()
    decoder.decode(b"\x20\x88")
    assert decoder.is_plain_200(b"\x88\x40\x01a\x01b")
