"""What the demo sends, and how each notification must end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token
from dispatcher.feedback import Outcome

APP: Final = "com.example.app"
ALERTS: Final = 2000
BACKGROUND_UPDATES: Final = 1000
BACKGROUND_DEVICES: Final = 200
CALLS: Final = 100
LATE_CALLS: Final = 5
#: How many of each bad kind, in each lane.
COPIES: Final = 2
MALFORMED_DEVICE_TOKENS: Final = ("", "not a device token", "../../3/device/00")

#: Shorter than any worker takes to start.
_LATE_EXPIRES_IN_S: Final = 0.1
#: Longer than all retries of the slowest bad kind.
_PATIENT_EXPIRES_IN_S: Final = 110.0
#: How often a worker tries a push that gets 503, before it is a dead letter.
_TRIES: Final = 6
_DELIVERED: Final = frozenset({Outcome.DELIVERED})
_DELIVERED_OR_SUPERSEDED: Final = frozenset({Outcome.DELIVERED, Outcome.SUPERSEDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a producer.

    Attributes:
        push_type: Value of apns-push-type.
        device_tokens: One, or those of a bulk call.
        payload: What to push.
        outcomes: Each notification must end in one of these.
        is_bulk: Whether it is a call of `send_many`.
        malformed: Device tokens of a bulk call that must be refused at the call.
        version: Of background updates: a device must get its highest one last.
        expires_in: Seconds to try; None for the push type's rule.
        replayed_outcome: How it ends when its dead letter is replayed; None for what is not replayed.
    """

    push_type: str
    device_tokens: tuple[str, ...]
    payload: Mapping[str, Any]
    outcomes: frozenset[Outcome] = _DELIVERED
    is_bulk: bool = False
    malformed: tuple[str, ...] = ()
    version: int | None = None
    expires_in: float | None = None
    replayed_outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadKind:
    """Something that goes wrong at Apple.

    Attributes:
        form: The kind of device token that makes it go wrong.
        outcome: How a push to it ends.
        times: How often it goes wrong before it goes well; 0 for always.
        push_types: The push types it is shown with.
        replayed_outcome: How it ends when its dead letter is replayed; None for what is not replayed.
    """

    form: Form
    outcome: Outcome
    times: int = 0
    push_types: tuple[str, ...] = ("alert", "background", "voip")
    replayed_outcome: Outcome | None = None


BAD_KINDS: Final = (
    BadKind(form=Form.SERVICE_UNAVAILABLE, outcome=Outcome.DEAD_LETTERED),
    # Over when every try has been made: only whoever replays its dead letter gets through.
    BadKind(
        form=Form.SERVICE_UNAVAILABLE,
        outcome=Outcome.DEAD_LETTERED,
        times=_TRIES,
        push_types=("alert", "background"),
        replayed_outcome=Outcome.DELIVERED,
    ),
    BadKind(form=Form.SERVICE_UNAVAILABLE, outcome=Outcome.DELIVERED, times=1),
    BadKind(form=Form.INTERNAL_SERVER_ERROR, outcome=Outcome.DELIVERED, times=1),
    BadKind(form=Form.TOO_MANY_REQUESTS, outcome=Outcome.DELIVERED, times=2),
    BadKind(form=Form.UNREGISTERED, outcome=Outcome.UNREGISTERED),
    BadKind(form=Form.EXPIRED, outcome=Outcome.UNREGISTERED),
    BadKind(form=Form.BAD, outcome=Outcome.REFUSED),
    BadKind(form=Form.NOT_FOR_TOPIC, outcome=Outcome.REFUSED),
)
_PAYLOADS: Final[Mapping[str, Mapping[str, Any]]] = {
    "alert": {"aps": {"alert": {"title": "Hello", "body": "World"}}},
    "background": {"aps": {"content-available": 1}, "sync": "inbox"},
    "voip": {"call": "8e21"},
}


def late_calls() -> Iterator[Call]:
    """Yield calls that must be made while no worker runs, and so ring for nobody."""
    for number in range(LATE_CALLS):
        yield Call(
            push_type="voip",
            device_tokens=(device_token(number),),
            payload=_PAYLOADS["voip"],
            outcomes=frozenset({Outcome.EXPIRED}),
            expires_in=_LATE_EXPIRES_IN_S,
        )


def calls() -> Iterator[Call]:
    """Yield everything else: the slowest first, then all lanes mixed."""
    yield from _bad_calls()
    yield _campaign(ALERTS // 2)
    background = _background_updates()
    for number in range(ALERTS // 2):
        yield _single("alert", number)
        yield next(background)
        if number % (ALERTS // 2 // CALLS) == 0:
            yield _single("voip", number)


def size() -> int:
    """Return how many notifications must be accepted in all."""
    bad = sum(len(kind.push_types) * COPIES for kind in BAD_KINDS)
    return LATE_CALLS + ALERTS + BACKGROUND_UPDATES + CALLS + bad


def _bad_calls() -> Iterator[Call]:
    number = count()
    for kind in BAD_KINDS:
        for push_type in kind.push_types:
            for _ in range(COPIES):
                yield Call(
                    push_type=push_type,
                    device_tokens=(special_device_token(kind.form, next(number), kind.times),),
                    payload=_PAYLOADS[push_type],
                    outcomes=frozenset({kind.outcome}),
                    expires_in=_PATIENT_EXPIRES_IN_S,
                    replayed_outcome=kind.replayed_outcome,
                )


def _campaign(number_of_devices: int) -> Call:
    return Call(
        push_type="alert",
        device_tokens=tuple(device_token(number) for number in range(number_of_devices)),
        payload=_PAYLOADS["alert"],
        is_bulk=True,
        malformed=MALFORMED_DEVICE_TOKENS,
    )


def _background_updates() -> Iterator[Call]:
    versions = BACKGROUND_UPDATES // BACKGROUND_DEVICES
    for device in range(BACKGROUND_DEVICES):
        for version in range(1, versions + 1):
            yield Call(
                push_type="background",
                device_tokens=(device_token(device),),
                payload={**_PAYLOADS["background"], "version": version},
                outcomes=_DELIVERED_OR_SUPERSEDED,
                version=version,
            )


def _single(push_type: str, number: int) -> Call:
    return Call(push_type=push_type, device_tokens=(device_token(number),), payload=_PAYLOADS[push_type])
