"""What a web app asks for, and what it gets back at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict

from dispatcher.push_types import Environment, Lane


class Report(StrEnum):
    """Which ends of a notification the app wants to hear about."""

    FAILURES = "failures"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One push asked for.

    Attributes:
        app: Bundle id of a configured app.
        push_type: One of the eleven values of apns-push-type.
        device_token: Hex, any case; lower-cased when it is sent.
        payload: JSON object: `aps` with Apple's keys, the app's own beside it.
        environment: Overrides the app's environment.
        priority: apns-priority; None takes the push type's.
        expiration: apns-expiration in Unix seconds; 0 forbids storing; None takes the push type's rule.
        expires_in: Seconds during which we try, counted from `send_at` if that is given; afterwards the push never
            leaves and is reported expired.
        send_at: Not before this time: Unix seconds, or a datetime that knows its time zone.
        collapse_id: At most 64 bytes of UTF-8: a shown notification with the same id is replaced.
        apns_id: The caller's own id, a canonical lower-case UUID; the same notification with the same id is accepted
            once within a day.
        idempotency_key: The caller's own word for this call: the same content with the same key is accepted once
            within the configured window (default a day) and gives the same receipt; not together with `apns_id`.
        collapse: Keep only the newest waiting one per device; background pushes always do.
        hold_for: Seconds to gather updates before the first is sent; only for notifications that collapse.
        version: The app's own count of its news, never going back; only for notifications that collapse: the one
            with the greatest version is the newest. Without it the one that arrived last is.
        report: Which ends to report as feedback.
        track: Keep how it ended for a day, for `status`.

    Source: "Sending notification requests to APNs", "Generating a remote notification".
    """

    app: str
    push_type: str
    device_token: str
    payload: Mapping[str, Any]
    environment: Environment | None = None
    priority: int | None = None
    expiration: int | None = None
    expires_in: float | None = None
    send_at: float | datetime | None = None
    collapse_id: str | None = None
    apns_id: str | None = None
    idempotency_key: str | None = None
    collapse: bool = False
    hold_for: float = 0.0
    version: int | None = None
    report: Report = Report.FAILURES
    track: bool = False


class SendOptions(TypedDict, total=False):
    """The optional fields of a notification, as keywords; see `Notification`."""

    environment: Environment | None
    priority: int | None
    expiration: int | None
    expires_in: float | None
    send_at: float | datetime | None
    collapse_id: str | None
    apns_id: str | None
    idempotency_key: str | None
    collapse: bool
    hold_for: float
    version: int | None
    report: Report
    track: bool


class BulkOptions(TypedDict, total=False):
    """The optional fields that the notifications of a bulk call share; see `Notification`."""

    environment: Environment | None
    priority: int | None
    expiration: int | None
    expires_in: float | None
    send_at: float | datetime | None
    collapse_id: str | None
    idempotency_key: str | None
    collapse: bool
    hold_for: float
    version: int | None
    report: Report
    track: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A notification was accepted; it will end in exactly one way.

    Receipts are equal when they are for the same notification, whatever became of the call.

    Attributes:
        apns_id: Its id, here and at Apple.
        lane: Which workers will send it.
        queued: False when only the state server has it: a worker's sweep will queue it.
        replaced: It took the place of one still waiting for the same device.
        repeated: The same apns id or idempotency key had been accepted before; nothing was added.
        superseded: A newer version had come before: it has already ended.
    """

    apns_id: str
    lane: Lane
    queued: bool = field(default=True, compare=False)
    replaced: bool = field(default=False, compare=False)
    repeated: bool = field(default=False, compare=False)
    superseded: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One device token of a bulk call that was not accepted.

    Attributes:
        position: Its place in the iterable, from 0.
        field: Name of the offending argument.
        rule: The rule in words.
    """

    position: int
    field: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReceipt:
    """One accepted batch: the apns id of its n-th notification is the batch id plus n.

    Attributes:
        batch_id: Its id.
        count: Notifications in it.
        queued: False when only the state server has it.
    """

    batch_id: str
    count: int
    queued: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReceipt:
    """What `send_many` accepted and refused.

    Receipts of the same call made again with its idempotency key are equal, whatever became of the first.

    Attributes:
        lane: Which workers will send it.
        accepted: Number of notifications accepted.
        refused: Number of device tokens refused.
        refusals: The first refusals, at most 1,000.
        batches: The accepted batches, in order.
        replaced: How many took the place of a waiting one.
        repeated: How many of the accepted had been accepted before under the same idempotency key; nothing was added.
    """

    lane: Lane
    accepted: int
    refused: int
    refusals: tuple[Refusal, ...]
    batches: tuple[BatchReceipt, ...]
    replaced: int = field(default=0, compare=False)
    repeated: int = field(default=0, compare=False)
