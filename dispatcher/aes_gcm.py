"""AES-GCM: the one door to the library that encrypts records. Loaded only where a key is configured."""

from __future__ import annotations

from dispatcher.extras import needs_extra

with needs_extra("encryption", part="APNS_RECORD_KEYS", modules=("cryptography",)):
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class AesGcm:
    """AES-GCM under one key of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._aead = AESGCM(secret)

    def encrypt(self, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
        """Return what was encrypted, with its tag."""
        return self._aead.encrypt(nonce, plain, bound)

    def decrypt(self, nonce: bytes, closed: bytes, bound: bytes) -> bytes:
        """Return what was encrypted.

        Raises:
            ValueError: Anything was changed.
        """
        try:
            return self._aead.decrypt(nonce, closed, bound)
        except InvalidTag as exc:
            raise ValueError("the tag does not fit") from exc
