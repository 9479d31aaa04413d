"""Put notifications into the state server, unless it has no room for them or would lose them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, TypeVar

from dispatcher.errors import UnsafeServerError
from dispatcher.guard import Guard, Marks
from dispatcher.server_findings import Place, ServerReading, judge, refusals
from dispatcher.state_call import StateCall
from dispatcher.state_server import StateServer

ReplyT = TypeVar("ReplyT")

#: How often the scripts that put look at the server's memory and policy; its queues they always look at.
LOOK_EVERY_S: Final = 1.0


class Admission:
    """Runs calls that put something, with the guard of the moment.

    A server found to be full is looked at again by every call, until one is accepted.
    """

    def __init__(self, state: StateServer, marks: Marks, *, must_keep: bool) -> None:
        """Make an admission; `must_keep`: a server that would lose what it accepts is refused."""
        self._state = state
        self._usual = Guard(max_waiting=marks.max_waiting)
        self._thorough = Guard(
            max_waiting=marks.max_waiting, max_memory_share=marks.max_memory_share, must_keep=must_keep
        )
        self._look_at = 0.0
        self._is_examined = not must_keep

    def run(self, make_call: Callable[[Guard], StateCall[ReplyT]], *, apns_ids: Sequence[str]) -> ReplyT:
        """Run one call.

        Raises:
            EnqueueError: As `StateServer.run`; `Backpressure` or `UnsafeServerError` if the guard refused it.
        """
        (reply,) = self.run_all([make_call], apns_ids=apns_ids)
        return reply

    def run_all(
        self, make_calls: Sequence[Callable[[Guard], StateCall[ReplyT]]], *, apns_ids: Sequence[str]
    ) -> list[ReplyT]:
        """Run calls in one round trip.

        Raises:
            EnqueueError: As `StateServer.run_all`; the guard's refusals if it refused all of them.
        """
        self._examine(apns_ids)
        now = monotonic()
        is_thorough = now >= self._look_at
        calls = [make_call(self._thorough if is_thorough else self._usual) for make_call in make_calls]
        replies = self._run(calls, apns_ids)
        if is_thorough:
            self._look_at = now + LOOK_EVERY_S
        return replies

    def _examine(self, apns_ids: Sequence[str]) -> None:
        """Look at the server as a worker does before it starts, once."""
        if self._is_examined:
            return
        reading = ServerReading.of_info(self._state.info(apns_ids=apns_ids))
        if problems := refusals(judge(reading, Place.STATE, production=True)):
            raise UnsafeServerError("; ".join(problems), apns_ids=apns_ids)
        self._is_examined = True

    def _run(self, calls: Sequence[StateCall[ReplyT]], apns_ids: Sequence[str]) -> list[ReplyT]:
        """Run them the cheapest way: one call needs no pipeline."""
        if len(calls) == 1:
            return [self._state.run(calls[0], apns_ids=apns_ids)]
        return self._state.run_all(calls, apns_ids=apns_ids)
