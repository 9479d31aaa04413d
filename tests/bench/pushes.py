"""What the benchmarks push."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

APP: Final = "com.example.app"
#: 246 bytes of JSON, as in the published numbers of other senders.
PAYLOAD: Final[Mapping[str, Any]] = {
    "aps": {"alert": {"title": "A message from a friend", "body": "x" * 105}, "badge": 1, "sound": "default"},
    "conversation": "0123456789abcdef0123456789abcdef",
}


def device_token(number: int) -> str:
    """Return the device token of the n-th device."""
    return f"{number:064x}"


def device_tokens(count: int) -> Iterator[str]:
    """Yield different device tokens."""
    return map(device_token, range(count))
