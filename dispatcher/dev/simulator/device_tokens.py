"""An endless supply of device tokens: what the simulator thinks of one stands in its first hex digits.

Every hex string of 64 digits or more and of even length is a living device of every topic, except those that begin
with one of the forms below, and those that were registered otherwise. A form marked as counted has two more hex digits,
"nn": how often this device token is refused before it is accepted, 00 for always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from dispatcher.dev.simulator.answers import ACCEPTED, ACCEPTED_IN_SILENCE, Answer
from dispatcher.dev.simulator.devices import Devices
from dispatcher.dev.simulator.faults import FAULTS, Fault

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
    GOAWAY = "ffff0901"
    GOAWAY_LEFT_OUT = "ffff0902"
    REFUSED_STREAM = "ffff0903"
    RESET = "ffff0904"
    HANG_UP = "ffff0905"
    LATE = "ffff0906"
    HTML = "ffff0907"
    MISSING_APNS_ID = "ffff0908"
    SILENT = "ffff0999"


class Stage(StrEnum):
    """The question about a device token at which a form shows itself, in the order they are asked."""

    KNOWN = "known"
    FITS_TOPIC = "fits_topic"
    ALIVE = "alive"
    FAULT = "fault"
    TRANSPORT = "transport"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRule:
    """What becomes of a push to a device token of one form.

    Attributes:
        stage: Where in the order of checks it is decided.
        answer: The answer.
        is_counted: Whether the two digits after the form say how often.
        fault: What goes wrong in transport instead.
    """

    stage: Stage
    answer: Answer = ACCEPTED
    is_counted: bool = False
    fault: Fault | None = None


def _in_transport(name: str) -> FormRule:
    fault = FAULTS[name]
    if not isinstance(fault, Fault):
        raise TypeError(f"{name} is no fault of a request")
    return FormRule(stage=Stage.TRANSPORT, is_counted=True, fault=fault)


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
    Form.GOAWAY: _in_transport("goaway"),
    Form.GOAWAY_LEFT_OUT: _in_transport("goaway_left_out"),
    Form.REFUSED_STREAM: _in_transport("refused_stream"),
    Form.RESET: _in_transport("reset"),
    Form.HANG_UP: _in_transport("hang_up_before"),
    Form.LATE: _in_transport("late"),
    Form.HTML: _in_transport("html"),
    Form.MISSING_APNS_ID: _in_transport("missing_apns_id"),
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


def fault_of(device_token: str | None, devices: Devices) -> Fault | None:
    """Return what goes wrong in transport with a push to a lower-case device token, counting it if its form does."""
    rule = _RULES_BY_PREFIX.get(device_token[:8]) if device_token else None
    if rule is None or rule.fault is None or not device_token or not is_well_formed(device_token):
        return None
    return rule.fault if devices.is_due_for_fault(device_token, times_of(device_token)) else None


def times_of(device_token: str) -> int:
    """Return how often a device token of a counted form is refused; 0 for always."""
    return int(device_token[8:10], 16)


def _digest(number: int) -> str:
    return sha256(b"device %d" % number).hexdigest()
