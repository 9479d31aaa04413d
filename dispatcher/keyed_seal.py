"""The seal that a key makes: AES-GCM, under a key of its own each time.

Each act of sealing draws a salt and derives a key from it (BLAKE2b with the configured key, RFC 7693). So a nonce must
only differ under one salt, and there is no limit to how much one configured key may seal.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64, unhexlify
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID

from dispatcher.errors import MessageError
from dispatcher.sealing import BROKEN, Place

#: With an ordinary device token of 32 bytes this makes a multiple of 3, which base64 writes without padding.
SALT_BYTES: Final = 18

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_APNS_ID_BYTES: Final = 16
_PAYLOAD: Final = b"apns payload"
_DEVICE_TOKEN: Final = b"apns device"
#: A key made for one payload seals nothing else.
_PAYLOAD_NONCE: Final = bytes(_NONCE_BYTES)


class Cipher(Protocol):
    """Authenticated encryption under one key."""

    def encrypt(self, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
        """Return what was encrypted, with its tag."""
        ...

    def decrypt(self, nonce: bytes, closed: bytes, bound: bytes) -> bytes:
        """Return what was encrypted; raises ValueError when anything was changed."""
        ...


class KeyedSeal:
    """AES-GCM under keys derived from a configured one."""

    def __init__(
        self,
        key_id: str,
        secret: bytes,
        *,
        make_cipher: Callable[[bytes], Cipher],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Make a seal.

        Args:
            key_id: What names the key.
            secret: 32 random bytes.
            make_cipher: Makes a cipher of 32 bytes.
            random_bytes: Returns so many bytes that nobody can foresee.
        """
        self.key_id: str | None = key_id
        self._prefix = f"{key_id}:"
        self._secret = secret
        self._make_cipher = make_cipher
        self._random_bytes = random_bytes

    def close_payload(self, payload: bytes, header: bytes, place: Place) -> bytes:
        """Return salt, encrypted payload and tag."""
        salt = self._random_bytes(SALT_BYTES)
        return salt + self._cipher(_PAYLOAD, salt).encrypt(_PAYLOAD_NONCE, payload, place.bound(header))

    def open_payload(self, closed: bytes, header: bytes, place: Place) -> bytes:
        """Return the payload if the tag fits."""
        cipher = self._cipher(_PAYLOAD, closed[:SALT_BYTES])
        try:
            return cipher.decrypt(_PAYLOAD_NONCE, closed[SALT_BYTES:], place.bound(header))
        except ValueError as exc:
            raise MessageError(BROKEN) from exc

    def close_device_tokens(self, device_tokens: Sequence[str], apns_id: str) -> list[str]:
        """Return each as key id, colon, base64 of salt, encrypted bytes and tag."""
        salt = self._random_bytes(SALT_BYTES)
        encrypt, prefix = self._cipher(_DEVICE_TOKEN, salt).encrypt, self._prefix
        closed = []
        for number, device_token in enumerate(device_tokens, UUID(apns_id).int):
            bound = number.to_bytes(_APNS_ID_BYTES, "big")
            # The apns ids of one record differ in their last bits, so these nonces differ.
            sealed = encrypt(bound[-_NONCE_BYTES:], unhexlify(device_token), bound)
            closed.append(prefix + b2a_base64(salt + sealed, newline=False).decode())
        return closed

    def open_device_tokens(self, closed: Sequence[str], apns_id: str) -> list[str]:
        """Return those whose tags fit, if all do."""
        try:
            return self._open_device_tokens(closed, UUID(apns_id).int)
        except (ValueError, TypeError, AttributeError, OverflowError) as exc:
            raise MessageError(f"a device token cannot be opened: {BROKEN}") from exc

    def _open_device_tokens(self, closed: Sequence[str], first: int) -> list[str]:
        opened, salt, decrypt = [], b"", None
        for number, text in enumerate(closed, first):
            prefix, encoded = text[: len(self._prefix)], text[len(self._prefix) :].encode()
            sealed = a2b_base64(encoded)
            # Only one spelling is ours: what base64 overlooks is refused too.
            if prefix != self._prefix or b2a_base64(sealed, newline=False) != encoded:
                raise ValueError("not spelled as we do")
            if decrypt is None or sealed[:SALT_BYTES] != salt:
                salt = sealed[:SALT_BYTES]
                decrypt = self._cipher(_DEVICE_TOKEN, salt).decrypt
            bound = number.to_bytes(_APNS_ID_BYTES, "big")
            opened.append(decrypt(bound[-_NONCE_BYTES:], sealed[SALT_BYTES:], bound).hex())
        return opened

    def _cipher(self, purpose: bytes, salt: bytes) -> Cipher:
        derived = blake2b(salt, key=self._secret, digest_size=_KEY_BYTES, person=purpose)
        return self._make_cipher(derived.digest())
