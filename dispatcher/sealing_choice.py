"""How a process seals records, by its configured keys."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from os import urandom

from dispatcher.keyed_seal import Cipher, KeyedSeal
from dispatcher.record_keys import RecordKey, RecordKeys
from dispatcher.sealing import PlainSeal, Seal, Sealing


def make_sealing(keys: RecordKeys) -> Sealing:
    """Return what the keys stand for.

    Raises:
        MissingExtraError: There are keys, and nothing to encrypt with.
    """
    return Sealing([_seal(key) for key in keys.listed])


def _seal(key: RecordKey | None) -> Seal:
    if key is None:
        return PlainSeal()
    # Not imported above: web apps without keys need not have the library.
    make_cipher: Callable[[bytes], Cipher] = import_module("dispatcher.aes_gcm").AesGcm
    return KeyedSeal(key.key_id, key.secret, make_cipher=make_cipher, random_bytes=urandom)
