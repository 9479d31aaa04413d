"""What Apple answers: a status, a reason, and for a dead device token the time it died.

Source: "Handling notification responses from APNs".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Apple's answer to one push.

    Attributes:
        status: The HTTP status.
        reason: Apple's word for a refusal; empty for 200.
        timestamp: Unix milliseconds at which Apple found the device token dead; only with 410.
        is_silent: The push is judged so, but the stream is never answered.
        content: The body of a success that has one; only channel management has.
        fields: Header fields of its own, behind the usual ones.
    """

    status: int
    reason: str = ""
    timestamp: int | None = None
    is_silent: bool = False
    content: bytes = b""
    fields: Headers = ()

    @property
    def is_accepted(self) -> bool:
        """Whether Apple took the push."""
        return self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_senders_fault(self) -> bool:
        """Whether Apple may slow the sender down for it; a 410 is not held against anybody."""
        is_refusal = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return is_refusal and self.status != HTTPStatus.GONE

    @property
    def body(self) -> bytes:
        """The compact JSON of a refusal; for a success its content, if any."""
        if not self.reason:
            return self.content
        fields: dict[str, str | int] = {"reason": self.reason}
        if self.timestamp is not None:
            fields["timestamp"] = self.timestamp
        return json.dumps(fields, separators=(",", ":")).encode()


ACCEPTED: Final = Answer(status=200)
ACCEPTED_IN_SILENCE: Final = Answer(status=200, is_silent=True)


def response_headers(answer: Answer, *, apns_id: str, unique_id: str | None) -> Headers:
    """Return the header fields of an answer; a unique id is what only the sandbox sends."""
    headers: Headers = ((":status", str(answer.status)), ("apns-id", apns_id))
    return headers if unique_id is None else (*headers, ("apns-unique-id", unique_id))
