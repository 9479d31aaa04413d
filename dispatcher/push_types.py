"""The eleven push types of APNs: one row each, the only place that knows how they differ.

Source: "Sending notification requests to APNs", table of apns-push-type values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dispatcher import payload_rules
from dispatcher.payload_rules import PayloadRule

MAX_PAYLOAD_BYTES: Final = 4096
MAX_VOIP_PAYLOAD_BYTES: Final = 5120

#: How long a phone rings, and so how long a call is worth sending, in seconds.
RING_TIME_S: Final = 30.0


class Lane(StrEnum):
    """A Celery task, a queue of the same name and worker processes of their own."""

    VOIP = "voip"
    ALERT = "alert"
    BACKGROUND = "background"


class Environment(StrEnum):
    """Apple's two worlds; a device token belongs to exactly one of them."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class Collapse(StrEnum):
    """Whether a waiting notification is replaced by a newer one for the same device."""

    ALWAYS = "always"
    ON_REQUEST = "on_request"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushType:
    """What one value of apns-push-type demands.

    Attributes:
        name: The header's value.
        topic_suffix: What follows the bundle id in apns-topic.
        lane: The lane that carries it.
        priorities: Allowed values of apns-priority.
        default_priority: Written when the caller gives none; the header is always sent.
        max_payload_bytes: Limit of the encoded payload.
        default_expiration: apns-expiration when the caller gives none; None leaves the header out.
        expires_in_s: How long we try when the caller gives no `expires_in`; None for as long as it takes.
        max_expiration_ahead_s: Furthest apns-expiration from now; None for no limit.
        collapse: Whether newer ones replace waiting ones.
        is_budgeted: Whether Apple counts how many a device gets in an hour, so that we space them.
        payload_rule: What the payload must hold.
    """

    name: str
    topic_suffix: str = ""
    lane: Lane = Lane.ALERT
    priorities: tuple[int, ...] = (10, 5, 1)
    default_priority: int = 10
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    default_expiration: int | None = None
    expires_in_s: float | None = None
    max_expiration_ahead_s: float | None = None
    collapse: Collapse = Collapse.NEVER
    is_budgeted: bool = False
    payload_rule: PayloadRule = payload_rules.any_payload

    def topic(self, bundle_id: str) -> str:
        """Return the value of apns-topic for an app."""
        return bundle_id + self.topic_suffix


_ROWS: Final = (
    PushType(name="alert", payload_rule=payload_rules.alert_payload),
    PushType(
        name="background",
        lane=Lane.BACKGROUND,
        priorities=(5,),
        default_priority=5,
        collapse=Collapse.ALWAYS,
        is_budgeted=True,
        payload_rule=payload_rules.background_payload,
    ),
    PushType(
        name="voip",
        topic_suffix=".voip",
        lane=Lane.VOIP,
        priorities=(10,),
        max_payload_bytes=MAX_VOIP_PAYLOAD_BYTES,
        default_expiration=0,
        expires_in_s=RING_TIME_S,
        max_expiration_ahead_s=RING_TIME_S,
    ),
    PushType(
        name="complication",
        topic_suffix=".complication",
        lane=Lane.BACKGROUND,
        collapse=Collapse.ON_REQUEST,
    ),
    PushType(
        name="fileprovider",
        topic_suffix=".pushkit.fileprovider",
        lane=Lane.BACKGROUND,
        collapse=Collapse.ON_REQUEST,
    ),
    PushType(name="mdm", payload_rule=payload_rules.mdm_payload),
    PushType(name="location", topic_suffix=".location-query", priorities=(10, 5)),
    PushType(
        name="liveactivity",
        topic_suffix=".push-type.liveactivity",
        priorities=(10, 5),
        payload_rule=payload_rules.live_activity_payload,
    ),
    PushType(
        name="pushtotalk",
        topic_suffix=".voip-ptt",
        lane=Lane.VOIP,
        priorities=(10,),
        default_expiration=0,
        expires_in_s=RING_TIME_S,
    ),
    PushType(
        name="widgets",
        topic_suffix=".push-type.widgets",
        lane=Lane.BACKGROUND,
        collapse=Collapse.ON_REQUEST,
        payload_rule=payload_rules.content_changed_payload,
    ),
    PushType(
        name="controls",
        topic_suffix=".push-type.controls",
        lane=Lane.BACKGROUND,
        collapse=Collapse.ON_REQUEST,
        payload_rule=payload_rules.content_changed_payload,
    ),
)

PUSH_TYPES: Final[Mapping[str, PushType]] = {row.name: row for row in _ROWS}
