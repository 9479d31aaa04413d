"""One HTTP/2 request, as the checks read it.

Header values are decoded as Latin-1, byte for character, so that lengths of the text are lengths on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

DEVICE_PATH: Final = "/3/device/"
#: Source: RFC 9113 section 6.5.2: what each field of a header list counts beyond its name and value.
_FIELD_OVERHEAD_BYTES: Final = 32

RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(slots=True, kw_only=True)  # not frozen: that would cost as much as all the checks
class Request:
    """A whole request: headers and body.

    Attributes:
        device_token: The last part of a device path, in lower case, perhaps empty; None when the path is another.
        headers: By lower-case name, pseudo-headers included; of a repeated header the first.
        has_duplicates: Whether a header came twice.
        payload: The body.
    """

    device_token: str | None
    headers: Mapping[str, str]
    has_duplicates: bool
    payload: bytes

    @property
    def method(self) -> str:
        """The value of :method."""
        return self.headers.get(":method", "")

    @property
    def provider_token(self) -> str:
        """The JWT of the authorization header; empty when there is none."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""

    def header(self, name: str) -> str:
        """Return a header's value; empty when it is absent."""
        return self.headers.get(name, "")


def parse_request(raw_headers: RawHeaders, payload: bytes) -> Request:
    """Make a request of what came over the wire."""
    headers: dict[str, str] = {}
    has_duplicates = False
    for name, value in raw_headers:
        text = name.decode("latin-1")
        has_duplicates = has_duplicates or text in headers
        headers.setdefault(text, value.decode("latin-1"))
    device_token = _device_token(headers.get(":path", ""))
    return Request(device_token=device_token, headers=headers, has_duplicates=has_duplicates, payload=payload)


def _device_token(path: str) -> str | None:
    rest = path[len(DEVICE_PATH) :]
    return rest.lower() if path.startswith(DEVICE_PATH) and "/" not in rest else None


def header_list_bytes(raw_headers: RawHeaders) -> int:
    """Return the size of a header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts it."""
    return sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in raw_headers)
