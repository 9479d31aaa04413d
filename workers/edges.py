"""What a worker's conductor acts through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dispatcher.sealing import Sealing
from dispatcher.state_call import StateCall
from workers.sending import Sending

ReplyT = TypeVar("ReplyT")


class State(Protocol):
    """The state server, as the conductor wants it."""

    async def run(self, call: StateCall[ReplyT]) -> ReplyT:
        """Run one call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What the conductor acts through.

    Attributes:
        state: The state server.
        sending: What attempts need.
        monotonic: A clock that never jumps, in seconds.
        sealing: How records are sealed.
    """

    state: State
    sending: Sending
    monotonic: Callable[[], float]
    sealing: Sealing
