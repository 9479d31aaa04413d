"""What a decision leaves behind: counters, feedback, dead letters; and the words Flower shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from dispatcher import dead_letter, record, redis_keys
from dispatcher.feedback import QUIET_OUTCOMES, Outcome
from dispatcher.notes import Ends
from dispatcher.notification import Report
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.sealing import Sealing, dead_letter_place
from dispatcher.status import encode_end
from workers.retry import Decision, Finish, Park, Release, Retry

#: Stands for the app of a record that cannot be read.
UNREADABLE: Final = redis_keys.UNREADABLE

#: Workers that may die over a notification; then nobody sends it any more.
MAX_CRASHES: Final = 3
POISONOUS: Final = Finish(outcome=Outcome.DEAD_LETTERED, reason=f"its worker died {MAX_CRASHES} times")

_WORDS: Final[Mapping[Outcome, str]] = {Outcome.DELIVERED: "sent", Outcome.DEAD_LETTERED: "dead-lettered"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What came before a notification's end.

    Attributes:
        attempts: Attempts used before.
        history: "<Unix seconds> <reason>" of its last tries, joined with "; ".
        accepted_at: When it was accepted, Unix seconds.
        in_slot: It waited in its device's slot.
    """

    attempts: int = 0
    history: str = ""
    accepted_at: float = 0.0
    in_slot: bool = False


_NOTHING: Final = Past()


def leave(
    ends: Ends,
    batch: Record,
    index: int,
    apns_id: str,
    decision: Finish | Retry,
    *,
    sealing: Sealing,
    past: Past = _NOTHING,
) -> None:
    """Add what one notification of a record leaves behind.

    Args:
        ends: Where it is added.
        batch: The record.
        index: The notification's place there.
        apns_id: Its id.
        decision: What became of it.
        sealing: How device tokens and dead letters are sealed.
        past: What came before.
    """
    lane = PUSH_TYPES[batch.push_type].lane
    if isinstance(decision, Retry):
        ends.add(redis_keys.counter("retried", batch.app, lane, decision.reason))
        return
    ends.add(redis_keys.counter(decision.outcome, batch.app, lane, decision.reason))
    if decision.outcome not in QUIET_OUTCOMES or batch.report is Report.EVERYTHING:
        ends.feedback.append(_entry(batch, index, apns_id, decision, sealing))
    if batch.track:
        ends.tracked[apns_id] = encode_end(
            outcome=decision.outcome,
            status=decision.status,
            reason=decision.reason,
            attempts=past.attempts + bool(decision.status),
            unregistered_at=decision.unregistered_at,
        )
    if decision.outcome is Outcome.DEAD_LETTERED:
        single = replace(batch, device_tokens=(batch.device_tokens[index],))
        ends.dead.append([
            *_entry(batch, index, apns_id, decision, sealing),
            "accepted_at", f"{past.accepted_at:.6f}",
            "in_slot", int(past.in_slot),
            "history", past.history,
            *dead_letter.kept(record.encode(single, dead_letter_place(apns_id), sealing)),
        ])  # fmt: skip


def leave_unreadable(
    ends: Ends,
    apns_id: str,
    stored: bytes,
    lane: Lane,
    reason: str,
    *,
    accepted_at: float,
    done: str = "",
    device: str | None = None,
) -> str:
    """Add what a record leaves behind that no retry can make readable: a dead letter, as it is; return its SHA-256.

    Args:
        ends: Where it is added.
        apns_id: Its id, or its batch's.
        stored: Whatever lies in its place.
        lane: Which workers found it.
        reason: The rule it broke.
        accepted_at: When it was accepted, Unix seconds.
        done: One character per notification of a batch, "1" when it has ended.
        device: What stands for the device in whose slot it was; None for a batch.
    """
    digest = sha256(stored).hexdigest()
    ends.add(redis_keys.counter(Outcome.DEAD_LETTERED, UNREADABLE, lane, UNREADABLE))
    ends.unreadable.append([
        "apns_id", apns_id,
        "reason", reason,
        "accepted_at", f"{accepted_at:.6f}",
        "in_slot", int(device is not None),
        "device", device or "",
        "done", done,
        "sha256", digest,
        "size_bytes", len(stored),
        *dead_letter.kept(stored),
    ])  # fmt: skip
    return digest


def summary_text(decisions: Iterable[Decision]) -> str:
    """Return what Flower shows as a task's result: `sent 498, unregistered 1, retry 1`."""
    words = Counter(_word(decision) for decision in decisions)
    return ", ".join(f"{word} {count}" for word, count in words.most_common()) or "nothing to do"


def _word(decision: Decision) -> str:
    match decision:
        case Finish(outcome=outcome):
            return _WORDS.get(outcome, outcome.value)
        case Retry():
            return "retry"
        case Release():
            return "given back"
        case Park():
            return "parked"


def _entry(batch: Record, index: int, apns_id: str, finish: Finish, sealing: Sealing) -> list[str | int]:
    return [
        "outcome", finish.outcome,
        "apns_id", apns_id,
        "app", batch.app,
        "environment", batch.environment,
        "push_type", batch.push_type,
        "device_token", sealing.close_device_token(batch.device_tokens[index], apns_id),
        "status", finish.status,
        "reason", finish.reason,
        "unregistered_at", finish.unregistered_at,
    ]  # fmt: skip
