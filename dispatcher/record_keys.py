"""The keys that records are sealed with, as they are written in `APNS_RECORD_KEYS`.

    APNS_RECORD_KEYS=2031:uLX...=,2030:9Zk...=

Entries of an id and 32 bytes in base64, the first of which writes while all are read. `plain` stands for no key, and
alone for how it is without the setting: so a running fleet changes over without refusing anything it has accepted, when
each step is done everywhere before the next one begins.

    plain,2030:9Zk...=      understand what the others will write
    2030:9Zk...=,plain      write it
    2030:9Zk...=            once everything plain is gone, dead letters included

The same three steps change a key, or go back to none.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import Final

SECRET_BYTES: Final = 32
PLAIN_WORD: Final = "plain"

_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")
_SEPARATORS: Final = re.compile(r"[,\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordKey:
    """A key; fit to print.

    Attributes:
        key_id: What names it in what it sealed.
        secret: 32 bytes.
    """

    key_id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordKeys:
    """What is written and read.

    Attributes:
        listed: The first one writes, all are read; None is plain.
    """

    listed: tuple[RecordKey | None, ...] = (None,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unsafe about them, a sentence each."""
        if self.listed[0] is None:
            return ("payloads and device tokens lie readable in the state server: set APNS_RECORD_KEYS",)
        if None in self.listed:
            return ("records that are not encrypted are accepted: remove plain from APNS_RECORD_KEYS",)
        return ()


def is_key_id(word: str) -> bool:
    """Tell whether a word can name a key."""
    return _KEY_ID.fullmatch(word) is not None


def parse(text: str) -> RecordKeys:
    """Return the keys of a list, separated by commas or white space.

    Raises:
        ValueError: It breaks a rule; names the rule and the entry's number, never any part of it.
    """
    entries = [entry for entry in _SEPARATORS.split(text) if entry]
    if not entries:
        raise ValueError("lists nothing")
    listed = tuple(_key(number, entry) for number, entry in enumerate(entries, start=1))
    key_ids = [key.key_id if key else PLAIN_WORD for key in listed]
    if len(set(key_ids)) < len(key_ids):
        raise ValueError("lists an id twice")
    return RecordKeys(listed=listed)


def _key(number: int, entry: str) -> RecordKey | None:
    if entry == PLAIN_WORD:
        return None
    key_id, _, encoded = entry.partition(":")
    if not is_key_id(key_id) or key_id == PLAIN_WORD:
        raise ValueError(f"has no id of 1 to 16 letters, digits, _ and - before a colon in entry {number}")
    try:
        secret = binascii.a2b_base64(encoded.encode(), strict_mode=True)
    except ValueError as exc:
        raise ValueError(f"has no base64 after the colon in entry {number}") from exc
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"has {len(secret)} bytes instead of {SECRET_BYTES} in entry {number}")
    return RecordKey(key_id=key_id, secret=secret)
