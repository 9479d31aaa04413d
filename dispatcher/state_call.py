"""One call of a script, as a value: what to run, on which keys, and how to read the reply.

A worker that lost its connection in the middle of a call does not know whether the call was done, and makes it again.
No script is done twice wrongly by that:

put, reserve, put_slot            knows the apns id: "repeated"
claim                             knows the claim id: the same claim again
claim_slots                       `again`: returns what the claim took, and takes nothing more
progress                          numbered: what was noted is not noted again, only the lease is renewed
settle, give_back                 the claim ended with the first: nothing is written
cancel, slot_cancel               what was cancelled is cancelled, or ended
sweep, sweep_slots, lost,         what the first moved is queued without a message: a marker finds it
  unpark, unpark_slots
marker_send, take_probe           the first was granted and is not used: the next is, after its patience
report_trouble                    `again`: a host's word does not confirm itself
rest, marker_out, pause, resume,  the second changes nothing
  trim_streams, unheard, device_online, and whatever only reads
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

ReplyT = TypeVar("ReplyT")
Argument = str | bytes | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCall(Generic[ReplyT]):
    """A script to run in one shard.

    Attributes:
        script: Name in `scripts.py`.
        shard: The shard every key is in.
        keys: The script's keys, without the clock that ends every list.
        args: The script's arguments.
        read: Turns the reply, bytes and numbers in lists, into a value.
        again: The arguments of a call that may have been done before; None when they are the same.
    """

    script: str
    shard: int
    keys: tuple[str, ...]
    args: tuple[Argument, ...]
    read: Callable[[Any], ReplyT]
    again: tuple[Argument, ...] | None = None


def text(reply: bytes | str) -> str:
    """Return a reply of bytes as text."""
    return reply.decode() if isinstance(reply, bytes) else reply
