"""Ids carry their shard and their batch."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import ids

shards = st.integers(0, ids.SHARDS - 1)
indices = st.integers(0, ids.MAX_BATCH_SIZE - 1)
random_bytes = st.binary(min_size=16, max_size=16)


@given(shards, random_bytes)
def test_batch_id_is_a_uuid_of_version_8(shard: int, entropy: bytes) -> None:
    """A batch id is a canonical UUID of version 8 whose last 16 bits are zero."""
    batch_id = ids.new_batch_id(shard, entropy)
    assert ids.is_canonical(batch_id)
    assert UUID(batch_id).version == 8
    assert UUID(batch_id).int & 0xFFFF == 0


@given(shards, random_bytes, indices)
def test_apns_id_leads_back_to_its_batch(shard: int, entropy: bytes, index: int) -> None:
    """From an apns id alone follow its shard, its batch and its place in it."""
    batch_id = ids.new_batch_id(shard, entropy)
    apns_id = ids.apns_id_of(batch_id, index)
    assert ids.shard_of(apns_id) == shard
    assert (batch_id, index) in ids.places_of(apns_id)


@given(random_bytes)
def test_random_bits_survive(entropy: bytes) -> None:
    """Two batch ids from different bytes differ wherever the bytes may speak."""
    other = bytes(byte ^ 0xFF for byte in entropy)
    assert ids.new_batch_id(3, entropy) != ids.new_batch_id(3, other)


places = st.lists(st.integers(0, 10**6), max_size=2)


@given(st.text(max_size=255), places, st.none() | shards)
def test_a_key_fixes_its_batch_id(idempotency_key: str, place: list[int], shard: int | None) -> None:
    """The same key, app and place give the same id each time, of ours, in the shard that is asked for."""
    batch_id = ids.batch_id_of_key("com.example.app", idempotency_key, *place, shard=shard)
    assert batch_id == ids.batch_id_of_key("com.example.app", idempotency_key, *place, shard=shard)
    assert UUID(batch_id).version == 8
    assert shard in {None, ids.shard_of(batch_id)}


def test_keys_apps_and_places_do_not_meet() -> None:
    """Nothing that tells calls apart can be mistaken for another part of it."""
    words = [
        ("com.example.app", "1", (2,)),
        ("com.example.app", "12", ()),
        ("com.example.app", "2", (1,)),
        ("com.example.app", "\n1", (2,)),
        ("com.example.app1", "1", (2,)),
        ("com.example.app", "1", (2, 2)),
        ("com.example.app", "1", (22,)),
    ]
    assert len({ids.batch_id_of_key(app, key, *place) for app, key, place in words}) == len(words)


def test_keys_are_spread_over_the_shards() -> None:
    """Keys that differ by a number go to all shards."""
    found = {ids.shard_of(ids.batch_id_of_key("com.example.app", f"order-{each}", 0)) for each in range(200)}
    assert found == set(range(ids.SHARDS))


def test_own_id_is_a_batch_of_one() -> None:
    """A caller's own apns id, of whatever version, is found under itself only."""
    own_id = str(uuid4())
    assert list(ids.places_of(own_id)) == [(own_id, 0)]
    assert ids.apns_id_of(own_id, 0) == own_id
    assert 0 <= ids.shard_of(own_id) < ids.SHARDS


def test_all_places_of_an_id_are_in_one_shard() -> None:
    """An id of ours that a caller brings again is looked for in the same shard, as a batch of one and in its batch."""
    apns_id = ids.apns_id_of(ids.new_batch_id(11, bytes(range(16))), 7)
    assert {ids.shard_of(batch_id) for batch_id, _ in ids.places_of(apns_id)} == {11}


@pytest.mark.parametrize(
    "apns_id",
    [
        "EABEAE54-14A8-11E5-B60B-1697F925EC7B",
        "eabeae5414a811e5b60b1697f925ec7b",
        "{eabeae54-14a8-11e5-b60b-1697f925ec7b}",
        "eabeae54-14a8-11e5-b60b-1697f925ec7",
        "123",
        "",
    ],
)
def test_other_spellings_are_not_canonical(apns_id: str) -> None:
    """Only lower-case digits grouped 8-4-4-4-12 are canonical."""
    assert not ids.is_canonical(apns_id)
