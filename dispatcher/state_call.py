"""One call of a script, as a value: what to run, on which keys, and how to read the reply."""

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
    """

    script: str
    shard: int
    keys: tuple[str, ...]
    args: tuple[Argument, ...]
    read: Callable[[Any], ReplyT]


def text(reply: bytes | str) -> str:
    """Return a reply of bytes as text."""
    return reply.decode() if isinstance(reply, bytes) else reply
