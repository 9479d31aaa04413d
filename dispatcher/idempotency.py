"""How a call that is made again is recognised: by the caller's own apns id, or by an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from os import urandom
from typing import Final, TypedDict

from dispatcher import ids, outbox, record
from dispatcher.notification import Notification
from dispatcher.record import Record
from dispatcher.validation import checked_apns_id, checked_idempotency_key

_RANDOM_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """By what a call is recognised when it is made again.

    Attributes:
        field: The argument that says it.
        word: Its value.
        window_s: How long it is remembered, in seconds.
    """

    field: str
    word: str
    window_s: int

    def batch_id(self, app: str, *place: int, shard: int | None = None) -> str:
        """Return the batch id that the call uses, each time it is made.

        Args:
            app: Bundle id.
            place: What tells the call's batches apart, such as a chunk's number.
            shard: Where it must be; None for anywhere.
        """
        if self.field == "apns_id":
            return self.word
        return ids.batch_id_of_key(app, self.word, *place, shard=shard)


class Remembered(TypedDict):
    """What the state server keeps of a call that may be made again, as arguments of its scripts.

    Attributes:
        digest: Of its content; empty if the call is new each time.
        window_s: How long, in seconds.
    """

    digest: str
    window_s: int


def identity_of(notification: Notification, *, window_s: int) -> Identity | None:
    """Return by what a call is recognised; None when it is new each time.

    Args:
        notification: What the caller asked for.
        window_s: How long an idempotency key is remembered, in seconds.

    Raises:
        NotificationError: Its apns id or idempotency key breaks a rule.
    """
    if notification.idempotency_key is not None:
        key = checked_idempotency_key(notification)
        return Identity(field="idempotency_key", word=key, window_s=window_s)
    if notification.apns_id is not None:
        return Identity(field="apns_id", word=checked_apns_id(notification.apns_id), window_s=outbox.DAY_S)
    return None


def batch_id(identity: Identity | None, app: str, *place: int, shard: int | None = None) -> str:
    """Return the batch id of a call, a fresh one if it is new each time; see `Identity.batch_id`."""
    if identity is not None:
        return identity.batch_id(app, *place, shard=shard)
    anywhere = urandom(1)[0] % ids.SHARDS
    return ids.new_batch_id(anywhere if shard is None else shard, urandom(_RANDOM_BYTES))


def remembered(identity: Identity | None, asked_for: Record) -> Remembered:
    """Return what the state server keeps of a call: of its content a digest, by which only the same can be found."""
    if identity is None:
        return Remembered(digest="", window_s=0)
    digest = blake2b(record.content(asked_for), digest_size=_RANDOM_BYTES).hexdigest()
    return Remembered(digest=digest, window_s=identity.window_s)
