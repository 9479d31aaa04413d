"""A seal opens what it closed, where it closed it, and nothing else."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import ids, record, record_keys
from dispatcher.errors import MessageError
from dispatcher.push_types import Environment
from dispatcher.record import Record
from dispatcher.sealing import PLAIN, Place, Sealing, batch_place, dead_letter_place, slot_place
from dispatcher.sealing_choice import make_sealing
from tests.record_sealing import KEYS_TEXT, OTHER_KEY_TEXT, SEALED

ID: Final = ids.new_batch_id(3, bytes(range(16)))
OTHER_ID: Final = ids.new_batch_id(3, bytes(range(1, 17)))
OWN_ID: Final = "123e4567-e89b-42d3-a456-426614174000"
DEVICE: Final = "d" * 32
TOKENS: Final = tuple(sha256(bytes([number])).hexdigest() for number in range(3))
CANARY: Final = b"the words of the payload"
RECORD: Final = Record(
    app="com.example.app",
    environment=Environment.PRODUCTION,
    push_type="alert",
    device_tokens=TOKENS,
    payload=CANARY,
    priority=10,
)
PLACES: Final = (
    batch_place(ID),
    batch_place(OTHER_ID),
    batch_place(OWN_ID),
    slot_place(3, DEVICE, ID),
    slot_place(4, DEVICE, ID),
    slot_place(3, "e" * 32, ID),
    slot_place(3, DEVICE, OTHER_ID),
    dead_letter_place(ID),
    dead_letter_place(OTHER_ID),
)
both_ways = pytest.mark.parametrize("sealing", [PLAIN, SEALED], ids=["plain", "sealed"])
device_tokens = st.lists(st.binary(min_size=1, max_size=256).map(bytes.hex), min_size=1, max_size=9)


def keys(text: str) -> Sealing:
    """Return how a process with these keys seals."""
    return make_sealing(record_keys.parse(text))


@both_ways
@pytest.mark.parametrize("written", PLACES, ids=str)
@pytest.mark.parametrize("read", PLACES, ids=str)
def test_a_record_is_read_in_its_own_place_only(sealing: Sealing, written: Place, read: Place) -> None:
    """A record that lies under another id, device, shard or kind of key than it was written for is refused."""
    stored = record.encode(RECORD, written, sealing)
    if read == written:
        assert record.decode(stored, read, sealing) == RECORD
    else:
        with pytest.raises(MessageError, match="its seal does not fit"):
            record.decode(stored, read, sealing)


@both_ways
@given(bit=st.integers(0, 8 * 10_000), cut=st.integers(0, 10_000), extra=st.binary(min_size=1, max_size=3))
def test_any_change_of_a_record_is_refused(bit: int, cut: int, extra: bytes, sealing: Sealing) -> None:
    """With one bit of header, payload or seal flipped, something cut off or added, a record is refused."""
    stored = bytearray(record.encode(RECORD, PLACES[0], sealing))
    flipped = stored.copy()
    flipped[bit // 8 % len(stored)] ^= 1 << bit % 8
    for changed in (flipped, stored[: cut % len(stored)], stored + extra, extra + stored):
        with pytest.raises(MessageError):
            record.decode(bytes(changed), PLACES[0], sealing)


@both_ways
def test_the_halves_of_two_records_make_no_third(sealing: Sealing) -> None:
    """A payload is refused under another header, though both were written for the same place."""
    header, _, payload = record.encode(RECORD, PLACES[0], sealing).partition(b"\n")
    other_header, _, _ = record.encode(replace(RECORD, priority=5), PLACES[0], sealing).partition(b"\n")
    assert record.decode(header + b"\n" + payload, PLACES[0], sealing) == RECORD
    with pytest.raises(MessageError):
        record.decode(other_header + b"\n" + payload, PLACES[0], sealing)


@given(tokens=device_tokens, first=st.integers(0, 400))
def test_each_device_token_opens_by_itself(tokens: list[str], first: int) -> None:
    """What a script copies out of a header is opened with the apns id that stands beside it."""
    first_id = ids.apns_id_of(ID, first)
    closed = SEALED.writer.close_device_tokens(tokens, first_id)
    for number, device_token in enumerate(tokens):
        apns_id = str(UUID(int=UUID(first_id).int + number))
        assert SEALED.open_device_token(closed[number], apns_id) == device_token
        with pytest.raises(MessageError):
            SEALED.open_device_token(closed[number], OTHER_ID)


@given(tokens=device_tokens, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_change_of_a_device_token_is_refused(tokens: list[str], at: int, bit: int) -> None:
    """With one bit flipped, of the key's id or of the rest, a sealed device token is refused."""
    closed = SEALED.close_device_token(tokens[0], ID)
    changed = bytearray(closed.encode())
    changed[at % len(changed)] ^= 1 << bit
    with pytest.raises(MessageError):
        SEALED.open_device_token(changed.decode("latin-1"), ID)


@pytest.mark.parametrize("closed", ["", ":", "test:", "test:AAAA", "test:=", "test: ", "nokey:AAAA", "ab", "test:ü"])
def test_what_is_no_sealed_device_token_is_refused(closed: str) -> None:
    """Whatever stands in its place, a plain device token included, is a MessageError."""
    with pytest.raises(MessageError):
        SEALED.open_device_token(closed, ID)


@pytest.mark.parametrize("apns_id", ["", "x", OWN_ID[:-1]])
def test_an_apns_id_that_is_none_opens_nothing(apns_id: str) -> None:
    """A sealed device token beside garbage is refused."""
    with pytest.raises(MessageError):
        SEALED.open_device_token(SEALED.close_device_token("ab", ID), apns_id)


def test_nothing_of_a_sealed_record_can_be_read() -> None:
    """Neither the payload nor a device token stands in a sealed record, in any spelling; nor twice the same bytes."""
    stored = record.encode(RECORD, PLACES[0], SEALED)
    assert CANARY not in stored
    assert CANARY in record.encode(RECORD, PLACES[0], PLAIN), "the search finds what is there"
    for device_token in TOKENS:
        raw = bytes.fromhex(device_token)
        spellings = (raw, device_token.encode(), device_token.upper().encode(), b64encode(raw)[:40])
        assert not [spelling for spelling in spellings if spelling in stored]
    again = record.encode(RECORD, PLACES[0], SEALED)
    tokens, tokens_again = (json_tokens(one) for one in (stored, again))
    assert len({*tokens, *tokens_again}) == 2 * len(TOKENS)
    assert stored.partition(b"\n")[2] != again.partition(b"\n")[2]


def json_tokens(stored: bytes) -> list[str]:
    """Return the sealed device tokens of a record."""
    return stored.partition(b"\n")[0].decode().partition('"device_tokens":[')[2].rstrip("]}").split(",")


ROTATION: Final = [
    (KEYS_TEXT, KEYS_TEXT, None),
    (KEYS_TEXT, f"{OTHER_KEY_TEXT},{KEYS_TEXT}", None),
    (f"{OTHER_KEY_TEXT},{KEYS_TEXT}", f"{KEYS_TEXT},{OTHER_KEY_TEXT}", None),
    (KEYS_TEXT, OTHER_KEY_TEXT, "the key test, which APNS_RECORD_KEYS does not list"),
    (KEYS_TEXT, "plain", "the key test, which APNS_RECORD_KEYS does not list"),
    ("plain", KEYS_TEXT, "not encrypted, and APNS_RECORD_KEYS does not list plain"),
    ("plain", f"plain,{KEYS_TEXT}", None),
    ("plain", f"{KEYS_TEXT},plain", None),
    (f"plain,{KEYS_TEXT}", "plain", None),
    (f"{KEYS_TEXT},plain", f"plain,{KEYS_TEXT}", None),
    (KEYS_TEXT, OTHER_KEY_TEXT.replace("other:", "test:"), "its seal does not fit"),
]


@pytest.mark.parametrize(("writes", "reads", "rule"), ROTATION)
def test_the_first_key_writes_and_all_read(writes: str, reads: str, rule: str | None) -> None:
    """Each step of changing keys, or of changing to or from none, reads what the step before wrote; others refuse."""
    writer, reader, place = keys(writes), keys(reads), PLACES[0]
    stored, closed = record.encode(RECORD, place, writer), writer.close_device_token("ab", ID)
    if rule is None:
        assert record.decode(stored, place, reader) == RECORD
        assert reader.open_device_token(closed, ID) == "ab"
        return
    with pytest.raises(MessageError, match=rule):
        record.decode(stored, place, reader)
    with pytest.raises(MessageError, match=rule):
        reader.open_device_token(closed, ID)
