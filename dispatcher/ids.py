"""Ids that carry their place: from an apns id alone follow its shard and its batch.

A batch id is a UUID version 8 (RFC 9562 section 5.8) of random bits, with the shard in bits 16 to 19 and its last
16 bits zero. The apns id of the batch's n-th notification is the batch id plus n. An apns id that the caller brought
is a batch of one under that very id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final
from uuid import UUID
from zlib import crc32

SHARDS: Final = 16
MAX_BATCH_SIZE: Final = 500

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OUR_VERSION: Final = 8
_RANDOM_BYTES: Final = 16
_SHARD_BITS: Final = 16
_INDEX_MASK: Final = 0xFFFF
_VERSION_MASK: Final = 0xF << 76
_VARIANT_MASK: Final = 0x3 << 62


def new_batch_id(shard: int, random_bytes: bytes) -> str:
    """Return a fresh batch id.

    Args:
        shard: 0 to 15.
        random_bytes: 16 random bytes.
    """
    number = int.from_bytes(random_bytes, "big")
    number &= ~(_VERSION_MASK | _VARIANT_MASK | _INDEX_MASK | (SHARDS - 1) << _SHARD_BITS)
    number |= _OUR_VERSION << 76 | 0x2 << 62 | shard << _SHARD_BITS
    return str(UUID(int=number))


def batch_id_of_key(app: str, idempotency_key: str, *place: int, shard: int | None = None) -> str:
    """Return the batch id that follows from an idempotency key.

    Args:
        app: Bundle id.
        idempotency_key: The caller's.
        place: What tells apart the batches of one call.
        shard: 0 to 15; None for the one that follows from the rest.
    """
    # The key comes last: it may hold any character, the others cannot hold a line feed.
    words = "\n".join((app, ",".join(map(str, place)), idempotency_key))
    digest = blake2b(words.encode(), digest_size=_RANDOM_BYTES + 1).digest()
    return new_batch_id(digest[-1] % SHARDS if shard is None else shard, digest[:-1])


def apns_id_of(batch_id: str, index: int) -> str:
    """Return the apns id of a batch's n-th notification, counted from 0."""
    return batch_id if index == 0 else str(UUID(int=UUID(batch_id).int + index))


def shard_of(apns_id: str) -> int:
    """Return the shard of an apns id or batch id, ours or a caller's own."""
    number = UUID(apns_id)
    if number.version == _OUR_VERSION:
        return number.int >> _SHARD_BITS & (SHARDS - 1)
    return crc32(number.bytes) % SHARDS


def places_of(apns_id: str) -> Iterator[tuple[str, int]]:
    """Yield every (batch id, index) under which an apns id may lie; all are in one shard."""
    yield apns_id, 0
    number = UUID(apns_id).int
    index = number & _INDEX_MASK
    if UUID(int=number).version == _OUR_VERSION and 0 < index < MAX_BATCH_SIZE:
        yield str(UUID(int=number - index)), index


def is_canonical(apns_id: str) -> bool:
    """Tell whether a string is a UUID in the one spelling APNs documents: 32 lower-case digits, 8-4-4-4-12."""
    return _CANONICAL.fullmatch(apns_id) is not None


def shard_of_device(device_digest: bytes) -> int:
    """Return the shard that holds a device's slot."""
    return device_digest[0] % SHARDS
