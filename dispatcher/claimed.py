"""What a worker gets when it claims a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dispatcher.state_call import text

_CRASH: Final = "crash:"


class ClaimState(StrEnum):
    """Whether a batch can be worked on."""

    CLAIMED = "claimed"
    GONE = "gone"
    BUSY = "busy"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A notification's tries so far.

    Attributes:
        attempts: Attempts used.
        due: When it may be tried again, Unix seconds of the state server.
        history: The last tries: "<Unix seconds> <reason>", separated by "; ".
    """

    attempts: int = 0
    due: float = 0.0
    history: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The reply to a claim.

    Attributes:
        state: CLAIMED, or why not; the rest is only set when claimed.
        now: The state server's clock, Unix seconds.
        accepted_at: When the batch was accepted, Unix seconds.
        record: The stored record.
        done: One character per notification, "1" when it has ended; empty when none has.
        waiting: Notifications that were tried before, by index.
        cancelled: Indices that must not be sent any more.
        crashes: How many workers died of a notification, by index.
        is_suspect: A worker died of some notification in it: they are sent one by one, to find out which.
    """

    state: ClaimState
    now: float = 0.0
    accepted_at: float = 0.0
    record: bytes = b""
    done: str = ""
    waiting: Mapping[int, Waiting] = field(default_factory=dict)
    cancelled: frozenset[int] = frozenset()
    crashes: Mapping[int, int] = field(default_factory=dict)
    is_suspect: bool = False


def read_claim(reply: Sequence[Any]) -> Claimed:
    """Read what claim.lua returns."""
    state = ClaimState(text(reply[0]))
    if state is not ClaimState.CLAIMED:
        return Claimed(state=state)
    fields = {text(name): text(value) for name, value in zip(reply[3][::2], reply[3][1::2], strict=True)}
    accepted_at, record = _read_stored(reply[2])
    crashes = {int(name.removeprefix(_CRASH)): int(n) for name, n in fields.items() if name.startswith(_CRASH)}
    return Claimed(
        state=state,
        now=float(reply[1]),
        accepted_at=accepted_at,
        record=record,
        done=fields.get("done", ""),
        waiting={int(name): _waiting(value) for name, value in fields.items() if name.isdigit()},
        cancelled=read_indices(fields.get("cancelled", "")),
        crashes=crashes,
        is_suspect=bool(crashes) or "unblamed" in fields,
    )


def read_indices(marks: str) -> frozenset[int]:
    """Return the indices in a list separated by spaces."""
    return frozenset(map(int, marks.split()))


def _read_stored(stored: bytes) -> tuple[float, bytes]:
    """Return when a batch was accepted and its record; what was not put there by us is a record nobody can read."""
    accepted_at, _, record = stored.partition(b" ")
    try:
        return float(accepted_at), record
    except ValueError:
        return 0.0, stored


def _waiting(value: str) -> Waiting:
    attempts, due, *history = value.split(" ", 2)
    return Waiting(attempts=int(attempts), due=float(due), history="".join(history))
