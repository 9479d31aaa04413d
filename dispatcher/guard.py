"""What a server must not be given: notifications it would lose, or has no room for. Judged by the scripts that put.

A script that is refused has written nothing. Its refusal is an error reply that begins with a code of guard.lua.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.errors import Backpressure, EnqueueError, UnsafeServerError
from dispatcher.ids import SHARDS
from dispatcher.state_call import Argument


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How full is too full; named as in the configuration file's `[enqueue]`.

    Attributes:
        max_memory_share: Of the state server's maxmemory, more than 0 and at most 1; without a maxmemory it is ignored.
        max_waiting: Batches waiting in one queue.
    """

    max_memory_share: float = 0.85
    max_waiting: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a script looks at before it puts anything.

    Attributes:
        max_memory_share: As in `Marks`; None to leave the server's memory and policy alone.
        must_keep: Whether a server that may evict keys is refused.
        max_waiting: As in `Marks`; None for no limit.
    """

    max_memory_share: float | None = None
    must_keep: bool = False
    max_waiting: int | None = None

    def server_args(self) -> tuple[Argument, Argument]:
        """Return the arguments about the server: share and '1' or empty, empty for what is not asked."""
        return "" if self.max_memory_share is None else self.max_memory_share, "1" if self.must_keep else ""

    def queue_arg(self) -> Argument:
        """Return the argument about the queue: what may wait in one shard, or empty."""
        return "" if self.max_waiting is None else self.max_waiting // SHARDS


#: Puts whatever comes: for what is there already, and only moves.
NO_GUARD: Final = Guard()

KEEP_EVERYTHING: Final = "set its maxmemory-policy to noeviction"


def refusal_of(reply: str, apns_ids: Sequence[str]) -> EnqueueError | None:
    """Return what an error reply of a script that puts means; None for any error that is not a refusal of ours."""
    code, *words = reply.split()
    refuse = _REFUSALS.get(code)
    return refuse(words, apns_ids) if refuse else None


def server_is_full(apns_ids: Sequence[str] = ()) -> Backpressure:
    """Return the error for a server that refused to write because its memory is used up."""
    reason = "the state server's memory is used up; give it more, or wait until workers have sent what waits"
    return Backpressure(reason, mark="maxmemory", apns_ids=apns_ids)


def _memory_is_full(words: Sequence[str], apns_ids: Sequence[str]) -> Backpressure:
    used, most = (int(word) for word in words[:2])
    reason = (
        f"the state server uses {used} of its {most} bytes of maxmemory ({used / most:.0%}), which is above the mark "
        "[enqueue] max_memory_share; give it more memory, or wait until workers have sent what waits"
    )
    return Backpressure(reason, mark="max_memory_share", apns_ids=apns_ids)


def _queue_is_full(words: Sequence[str], apns_ids: Sequence[str]) -> Backpressure:
    (queue,) = words
    reason = (
        f"as many batches wait in the queue {queue} as the mark [enqueue] max_waiting allows; "
        "start more workers of its lane, or wait until they have sent what waits"
    )
    return Backpressure(reason, mark="max_waiting", queue=queue, apns_ids=apns_ids)


def _may_evict(words: Sequence[str], apns_ids: Sequence[str]) -> UnsafeServerError:
    reason = f"the state server may throw away what it accepted (maxmemory-policy {words[0]}); {KEEP_EVERYTHING}"
    return UnsafeServerError(reason, apns_ids=apns_ids)


_REFUSALS: Final[Mapping[str, Callable[[Sequence[str], Sequence[str]], EnqueueError]]] = {
    "MEMORYFULL": _memory_is_full,
    "QUEUEFULL": _queue_is_full,
    "EVICTING": _may_evict,
}
