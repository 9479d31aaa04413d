"""How much each benchmark does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each benchmark does in one round.

    Attributes:
        rounds: How often each comparison is made.
        singles: Notifications enqueued one by one.
        bulk: Device tokens of one bulk call.
        bulk_memory: Device tokens of the bulk call whose memory is watched.
        updates: Background updates that replace a waiting one.
        pushes: Pushes on one connection; a multiple of 1,000.
        peer_pushes: Pushes of a sender given by its command, on top of those that measure its start.
        batched: Pushes through a worker, in batches.
        worker_singles: Pushes through a worker, one by one.
        worker_rounds: How often a worker is given those.
        calls: VoIP pushes whose way is timed.
        call_rounds: How often they are.
        queued_alerts: Alerts that wait meanwhile.
    """

    rounds: int
    singles: int
    bulk: int
    bulk_memory: int
    updates: int
    pushes: int
    peer_pushes: int
    batched: int
    worker_singles: int
    worker_rounds: int
    calls: int
    call_rounds: int
    queued_alerts: int = 20_000


FULL: Final = Sizes(
    rounds=9,
    singles=2_000,
    bulk=50_000,
    bulk_memory=1_000_000,
    updates=2_000,
    pushes=10_000,
    peer_pushes=40_000,
    batched=50_000,
    worker_singles=3_000,
    worker_rounds=5,
    calls=200,
    call_rounds=5,
)
QUICK: Final = Sizes(
    rounds=3,
    singles=500,
    bulk=20_000,
    bulk_memory=200_000,
    updates=500,
    pushes=3_000,
    peer_pushes=5_000,
    batched=10_000,
    worker_singles=1_000,
    worker_rounds=2,
    calls=150,
    call_rounds=1,
)
