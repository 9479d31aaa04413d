"""The request log: one JSON object per line for each request, in the order they were judged."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final


@dataclass(slots=True, kw_only=True)  # not frozen: with so many fields that would cost as much as all the checks
class LoggedRequest:
    """One line of the log. Header values are the text sent; None stands for a header that was absent.

    Attributes:
        at: Unix seconds of this machine's clock when the request was whole.
        clock: Unix seconds of the simulated clock.
        apns_id: As answered: the request's, or the one made for it.
        device_token: In lower case; None when the path is not that of a device.
        status: What was or would have been answered.
        connection: Number of the connection, from 1.
        provider_token: First 16 hex digits of the SHA-256 of the JWT; empty without one.
        issued_at: Claim of a provider token whose signature is right; so are key_id and team_id.
        answered: False when the answer was swallowed, or held back while this line was written.
        warnings: What a device would stumble over though Apple accepts it.
    """

    at: float
    clock: float
    apns_id: str
    device_token: str | None
    topic: str | None
    push_type: str | None
    priority: str | None
    expiration: str | None
    collapse_id: str | None
    payload: str
    payload_bytes: int
    status: int
    reason: str
    connection: int
    provider_token: str
    issued_at: int | None
    key_id: str | None
    team_id: str | None
    answered: bool
    warnings: list[str] = field(default_factory=list)


class RequestLog:
    """Appends to a file, once per turn of the event loop, to a bounded list in memory, or to nothing.

    Args:
        path: The file; None for none.
        remembered: How many requests are kept in memory, the newest.

    Attributes:
        requests: Those.
    """

    def __init__(self, path: Path | None, *, remembered: int = 0) -> None:
        self._file = None if path is None else path.open("ab", buffering=0)
        self._lines: list[str] = []
        self.requests: deque[LoggedRequest] = deque(maxlen=remembered)

    @property
    def is_kept(self) -> bool:
        """Whether anybody will read what is added."""
        return self._file is not None or self.requests.maxlen != 0

    def add(self, logged: LoggedRequest) -> None:
        """Add a line; it is in the file before the next turn of the event loop ends."""
        self.requests.append(logged)
        if self._file is None:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        # shallow: vars() is not there with slots, and asdict copies deeply, which costs more than all the checks
        self._lines.append(json.dumps({name: getattr(logged, name) for name in _FIELDS}))

    def close(self) -> None:
        """Write what is left and close the file."""
        self._write()
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        if self._lines and self._file is not None:
            self._file.write(("\n".join(self._lines) + "\n").encode())
        self._lines.clear()


_FIELDS: Final = tuple(each.name for each in fields(LoggedRequest))
