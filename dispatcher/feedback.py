"""What the app is told about a notification that ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from dispatcher.push_types import Environment
from dispatcher.sealing import Sealing


class Outcome(StrEnum):
    """How a notification ended; each ends in exactly one of these."""

    DELIVERED = "delivered"
    UNREGISTERED = "unregistered"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    DEAD_LETTERED = "dead_lettered"


#: Reported only when the app asked for everything.
QUIET_OUTCOMES: Final = frozenset({Outcome.DELIVERED, Outcome.SUPERSEDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One ended notification.

    Attributes:
        outcome: How it ended.
        apns_id: The id of its receipt.
        app: Bundle id.
        environment: Apple's environment.
        push_type: Value of apns-push-type.
        device_token: Lower-case hex.
        status: HTTP status of Apple's last answer; 0 when there was none.
        reason: Apple's reason, or ours in words; empty on success.
        unregistered_at: Unix milliseconds at which Apple knew the device token dead; 0 when unknown.
        at: When it ended, in Unix seconds of the state server's clock.
        stream_id: Its place in its stream, for acknowledging.
        shard: The shard of that stream.
    """

    outcome: Outcome
    apns_id: str
    app: str
    environment: Environment
    push_type: str
    device_token: str
    status: int = 0
    reason: str = ""
    unregistered_at: int = 0
    at: float = 0.0
    stream_id: str = ""
    shard: int = 0

    @property
    def registered_before(self) -> datetime | None:
        """Forget the device token only if the app registered it before this moment; None when Apple named none.

        A device token that was registered later is alive again: the app was deleted and came back.

        Source: "Handling notification responses from APNs", the key `timestamp`.
        """
        if not self.unregistered_at:
            return None
        return datetime.fromtimestamp(self.unregistered_at / 1000, tz=UTC)


def decode(fields: Mapping[bytes, bytes], *, stream_id: str, shard: int, sealing: Sealing) -> Feedback:
    """Return the record of a stream entry.

    Raises:
        MessageError: Its device token was not sealed by one of us for this apns id.
        ValueError: A field holds what this release does not know.
        KeyError: A field is missing.
    """
    text = {name.decode(): value.decode() for name, value in fields.items()}
    return Feedback(
        outcome=Outcome(text["outcome"]),
        apns_id=text["apns_id"],
        app=text["app"],
        environment=Environment(text["environment"]),
        push_type=text["push_type"],
        device_token=sealing.open_device_token(text["device_token"], text["apns_id"]),
        status=int(text["status"]),
        reason=text["reason"],
        unregistered_at=int(text["unregistered_at"]),
        at=float(text["at"]),
        stream_id=stream_id,
        shard=shard,
    )


def keep_aside(fields: Mapping[bytes, bytes]) -> str:
    """Return the form in which an entry that cannot be read is kept; a sealed device token stays sealed."""
    return json.dumps({name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()})


def kept_aside(kept: str) -> dict[bytes, bytes]:
    """Return the fields of an entry that was kept aside.

    Raises:
        ValueError: It is no such form.
        TypeError: It is none either.
    """
    fields = json.loads(kept)
    return {name.encode(): str(value).encode() for name, value in dict(fields).items()}
