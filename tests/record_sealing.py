"""The keys that tests seal records with, and both ways of sealing."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

from dispatcher import record_keys
from dispatcher.sealing_choice import make_sealing

KEYS_TEXT: Final = f"test:{b64encode(bytes(range(32))).decode()}"
OTHER_KEY_TEXT: Final = f"other:{b64encode(bytes(range(32, 64))).decode()}"
SEALED: Final = make_sealing(record_keys.parse(KEYS_TEXT))


def sealed_entry(**fields: Any) -> Any:
    """Return the fields of an entry of feedback, its device token sealed as a worker does."""
    return {**fields, "device_token": SEALED.close_device_token(fields["device_token"], fields["apns_id"])}
