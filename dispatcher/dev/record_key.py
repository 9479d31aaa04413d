"""A key for the records of a fleet that only plays."""

from __future__ import annotations

from base64 import b64encode
from os import urandom
from pathlib import Path

from dispatcher.record_keys import SECRET_BYTES


def make_record_key(file: Path) -> None:
    """Write a fresh key, unless there is one already: it may have sealed what lies in the state server."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(f"dev:{b64encode(urandom(SECRET_BYTES)).decode()}\n", encoding="utf-8")
