"""An endless supply of device tokens: what the simulator thinks of one stands in its first hex digits.

Every hex string of 64 digits or more and of even length is a living device of every topic, except those that begin
with one of the forms below. A form marked as counted has two more hex digits, "nn": how often this device token is
refused before it is accepted, 00 for always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from dispatcher.dev.simulator.answers import ACCEPTED_IN_SILENCE, Answer

MIN_HEX_DIGITS: Final = 64
UNREGISTERED_AT: Final = 1_700_000_000_000  # Unix milliseconds
_MAX_TIMES: Final = 0xFF
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class Form(StrEnum):
    """The special forms, by the eight hex digits they begin with."""

    BAD = "ffff0400"
    NOT_FOR_TOPIC = "ffff0401"
    UNREGISTERED = "ffff0410"
    EXPIRED = "ffff0411"
    TOO_MANY_REQUESTS = "ffff0429"
    INTERNAL_SERVER_ERROR = "ffff0500"
    SERVICE_UNAVAILABLE = "ffff0503"
    SILENT = "ffff0999"


class Stage(StrEnum):
    """The question about a device token at which a form shows itself, in the order they are asked."""

    KNOWN = "known"
    FITS_TOPIC = "fits_topic"
    ALIVE = "alive"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRule:
    """What becomes of a push to a device token of one form.

    Attributes:
        stage: Where in the order of checks it is decided.
        answer: The answer.
        is_counted: Whether the two digits after the form say how often.
    """

    stage: Stage
    answer: Answer
    is_counted: bool = False


FORMS: Final[Mapping[Form, FormRule]] = {
    Form.BAD: FormRule(stage=Stage.KNOWN, answer=Answer(status=400, reason="BadDeviceToken")),
    Form.NOT_FOR_TOPIC: FormRule(stage=Stage.FITS_TOPIC, answer=Answer(status=400, reason="DeviceTokenNotForTopic")),
    Form.UNREGISTERED: FormRule(
        stage=Stage.ALIVE, answer=Answer(status=410, reason="Unregistered", timestamp=UNREGISTERED_AT)
    ),
    Form.EXPIRED: FormRule(
        stage=Stage.ALIVE, answer=Answer(status=410, reason="ExpiredToken", timestamp=UNREGISTERED_AT)
    ),
    Form.TOO_MANY_REQUESTS: FormRule(
        stage=Stage.FAULT, answer=Answer(status=429, reason="TooManyRequests"), is_counted=True
    ),
    Form.INTERNAL_SERVER_ERROR: FormRule(
        stage=Stage.FAULT, answer=Answer(status=500, reason="InternalServerError"), is_counted=True
    ),
    Form.SERVICE_UNAVAILABLE: FormRule(
        stage=Stage.FAULT, answer=Answer(status=503, reason="ServiceUnavailable"), is_counted=True
    ),
    Form.SILENT: FormRule(stage=Stage.FAULT, answer=ACCEPTED_IN_SILENCE, is_counted=True),
}
_RULES_BY_PREFIX: Final[Mapping[str, FormRule]] = {form.value: rule for form, rule in FORMS.items()}


def device_token(number: int) -> str:
    """Return an ordinary device token, the same for the same number."""
    return "a" + _digest(number)[1:]


def special_device_token(form: Form, number: int, times: int = 0) -> str:
    """Return a device token of a form, the same for the same arguments.

    Args:
        form: What the simulator shall do with it.
        number: Tells device tokens of the same form apart.
        times: For a counted form: how often, before the device token is accepted; 0 for always.

    Raises:
        ValueError: `times` is out of range, or given for a form that does not count.
    """
    highest = _MAX_TIMES if FORMS[form].is_counted else 0
    if not 0 <= times <= highest:
        raise ValueError(f"times: from 0 to {highest} for this form")
    head = f"{form}{times:02x}"
    return head + _digest(number)[len(head) :]


def is_well_formed(device_token: str) -> bool:
    """Tell whether a lower-case device token could be one at all."""
    return len(device_token) >= MIN_HEX_DIGITS and len(device_token) % 2 == 0 and _HEX_DIGITS.issuperset(device_token)


def rule_of(device_token: str, stage: Stage) -> FormRule | None:
    """Return the rule that a lower-case device token's form has at a stage, or None."""
    rule = _RULES_BY_PREFIX.get(device_token[:8])
    return rule if rule is not None and rule.stage is stage else None


def times_of(device_token: str) -> int:
    """Return how often a device token of a counted form is refused; 0 for always."""
    return int(device_token[8:10], 16)


def _digest(number: int) -> str:
    return sha256(b"device %d" % number).hexdigest()
