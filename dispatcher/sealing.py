"""Seal records, so that what somebody else wrote, changed or moved in the state server is refused.

With a key, AES-GCM: nobody without it reads a payload or a device token, or makes a record that is accepted. Without
one, a digest over the same bytes: it refuses what is damaged, moved or carelessly forged; whoever knows the format can
forge it.

No seal keeps somebody who may write to the state server from deleting a record, or from putting an old one back into
its own place. Times of acceptance, progress, and what feedback says beside the device token are written by scripts,
which have no key: they are not sealed. Apps, push types, collapse ids and apns ids stay readable. What stands for a
device in names of keys, and for the content of a call that may be made again, is a digest without a key, the same over
every change of keys: whoever knows a device token can find its slot, and can check a guess at a payload.

A payload is bound to the header as it stands and to the record's place. A device token is sealed by itself and bound to
its apns id, so that scripts copy it without opening it.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

from dispatcher.errors import MessageError
from dispatcher.record_keys import is_key_id

CHECK_BYTES: Final = 16
#: What is said of anything that a seal does not fit.
BROKEN: Final = "its seal does not fit: it was forged, damaged, or moved here from elsewhere"

_DIGEST: Final = b"apns digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record lies: it can be opened nowhere else.

    Attributes:
        words: What tells this place from others.
        apns_id: Of the record's first notification.
    """

    words: str
    apns_id: str

    def bound(self, header: bytes) -> bytes:
        """Return what a payload is bound to; neither words nor a header of ours hold a line feed."""
        return f"{self.words} {self.apns_id}\n".encode() + header


def batch_place(batch_id: str) -> Place:
    """Return the place of a batch; its shard follows from its id."""
    return Place(words="batch", apns_id=batch_id)


def slot_place(shard: int, device: str, apns_id: str) -> Place:
    """Return the place of a notification in a device's slot."""
    return Place(words=f"slot {shard:02d} {device}", apns_id=apns_id)


def dead_letter_place(apns_id: str) -> Place:
    """Return the place of a dead letter."""
    return Place(words="dead", apns_id=apns_id)


class Seal(Protocol):
    """One way of sealing.

    Attributes:
        key_id: What names it; None without a key.
    """

    key_id: str | None

    def close_payload(self, payload: bytes, header: bytes, place: Place) -> bytes:
        """Return what is stored of a payload."""
        ...

    def open_payload(self, closed: bytes, header: bytes, place: Place) -> bytes:
        """Return the payload; raises MessageError when it was not stored here like this."""
        ...

    def close_device_tokens(self, device_tokens: Sequence[str], apns_id: str) -> list[str]:
        """Return what is stored of device tokens, the first of which has this apns id, the next the next one."""
        ...

    def open_device_tokens(self, closed: Sequence[str], apns_id: str) -> list[str]:
        """Return the device tokens; raises MessageError when they were not stored for these apns ids."""
        ...


class PlainSeal:
    """A digest: no secret, and no protection against somebody who knows how it is made."""

    def __init__(self) -> None:
        self.key_id: str | None = None

    def close_payload(self, payload: bytes, header: bytes, place: Place) -> bytes:
        """Return the payload and its digest."""
        return payload + _digest(payload, header, place)

    def open_payload(self, closed: bytes, header: bytes, place: Place) -> bytes:
        """Return the payload if the digest is its own."""
        payload = closed[:-CHECK_BYTES]
        if closed[-CHECK_BYTES:] != _digest(payload, header, place):
            raise MessageError(BROKEN)
        return payload

    def close_device_tokens(self, device_tokens: Sequence[str], apns_id: str) -> list[str]:  # noqa: ARG002  see Seal
        """Return them as they are."""
        return list(device_tokens)

    def open_device_tokens(self, closed: Sequence[str], apns_id: str) -> list[str]:  # noqa: ARG002  see Seal
        """Return them as they are, if that is what they are."""
        try:
            for device_token in closed:
                unhexlify(device_token)
        except (ValueError, TypeError) as exc:
            raise MessageError("it holds a device token that is none") from exc
        return list(closed)


def _digest(payload: bytes, header: bytes, place: Place) -> bytes:
    bound = place.bound(header)
    digest = blake2b(len(bound).to_bytes(8, "big"), digest_size=CHECK_BYTES, person=_DIGEST)
    digest.update(bound)
    digest.update(payload)
    return digest.digest()


class Sealing:
    """How a process seals what it writes, and what it accepts.

    Attributes:
        writer: Seals everything new.
    """

    def __init__(self, seals: Sequence[Seal]) -> None:
        """Take every seal that is accepted; the first one writes."""
        self.writer = seals[0]
        self._readers = {seal.key_id: seal for seal in seals}

    def reader(self, key_id: str | None) -> Seal:
        """Return the seal that opens what names a key, or names none.

        Raises:
            MessageError: It is not accepted.
        """
        if key_id in self._readers:
            return self._readers[key_id]
        if key_id is None:
            raise MessageError("it is not encrypted, and APNS_RECORD_KEYS does not list plain")
        shown = key_id if is_key_id(key_id) else "of another form"
        raise MessageError(f"it is encrypted with the key {shown}, which APNS_RECORD_KEYS does not list")

    def close_device_token(self, device_token: str, apns_id: str) -> str:
        """Return what is stored of a device token outside of a record."""
        return self.writer.close_device_tokens([device_token], apns_id)[0]

    def open_device_token(self, closed: str, apns_id: str) -> str:
        """Return a device token that was stored outside of a record.

        Raises:
            MessageError: It is not accepted, or was not stored for this apns id.
        """
        key_id, colon, _ = closed.partition(":")
        return self.reader(key_id if colon else None).open_device_tokens([closed], apns_id)[0]


#: Without any key.
PLAIN: Final = Sealing([PlainSeal()])
