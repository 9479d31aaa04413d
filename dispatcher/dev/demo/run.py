"""The demo from beginning to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from rich.console import Console

from dispatcher import Dispatcher, Settings
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.dev.demo import ledger, plan
from dispatcher.dev.demo.ledger import Account
from dispatcher.dev.demo.production import Producer
from dispatcher.dev.demo.progress import Display, displayed
from dispatcher.dev.demo.sources import FeedbackCollector, HeldWatcher, RequestFollower
from dispatcher.dev.stack import Stack
from dispatcher.replay import Replay

#: After so long the demo gives up, and reports what is missing.
GIVE_UP_AFTER_S: Final = 110.0
#: Apple's 15 minutes become 0.18 s: a dead letter takes five growing delays.
RETRY_SCALE: Final = 0.0002
#: Three an hour would take twenty minutes.
BACKGROUND_SPACING_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.1


def run(directory: Path, console: Console) -> Account:
    """Start a fleet, push through it, stop it, and return the account.

    Args:
        directory: For files and logs.
        console: Where progress is shown.

    Raises:
        ChildError: A program did not start.
        EnqueueError: The state server did not confirm a call.
    """
    gives_up_at = monotonic() + GIVE_UP_AFTER_S
    stack = Stack(directory, flower=True, retry_scale=RETRY_SCALE, background_spacing_s=BACKGROUND_SPACING_S)
    console.print("starting Valkey and the simulator")
    stack.start_servers()
    try:
        with (
            Dispatcher(Settings.from_env(stack.env)) as push,
            FeedbackCollector(push) as feedback,
            HeldWatcher(stack.server.url, plan.APP) as held,
        ):
            demo = _Demo(stack=stack, producer=Producer(push=push), feedback=feedback, held=held)
            return demo.conduct(console, gives_up_at)
    finally:
        stack.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    stack: Stack
    producer: Producer
    feedback: FeedbackCollector
    held: HeldWatcher

    def conduct(self, console: Console, gives_up_at: float) -> Account:
        for call in plan.late_calls():
            self.producer.make(call)
        console.print(f"starting a worker per lane, and Flower at {self.stack.flower_url}")
        self.stack.start_workers()
        requests = RequestFollower(self.stack.simulator_requests)
        with displayed(console, plan.size()) as display:
            self._produce(requests, display)
            self._wait_for_the_end(requests, display, gives_up_at)
        replayed = self._replay()
        console.print(f"replayed {len(replayed)} dead letters, whose trouble is over")
        self._wait_for_another_end(replayed, gives_up_at)
        console.print("stopping the workers")
        self.stack.stop_workers()
        self.feedback.finish()
        requests.read()
        return ledger.balance(
            self.producer.sent,
            requests.received,
            self.feedback.ended,
            refused_at_call=self.producer.refused,
            held=self.held.apns_ids,
        )

    def _produce(self, requests: RequestFollower, display: Display) -> None:
        next_look_at = monotonic()
        for call in plan.calls():
            self.producer.make(call)
            if monotonic() >= next_look_at:
                self._look(requests, display)
                next_look_at = monotonic() + _LOOK_EVERY_S

    def _wait_for_the_end(self, requests: RequestFollower, display: Display, gives_up_at: float) -> None:
        while self._look(requests, display) < len(self.producer.sent) and monotonic() < gives_up_at:
            sleep(_LOOK_EVERY_S)

    def _replay(self) -> set[str]:
        """Replay the dead letters whose trouble is over, as an operator does; return their apns ids."""
        over = {sent.apns_id for sent in self.producer.sent if sent.replayed_outcome is not None}
        with DeadLetters(Settings.from_env(self.stack.env)) as letters:
            found = [letter for letter in letters.find(Wanted(app=plan.APP)) if letter.apns_id in over]
            return {letter.apns_id for letter in found if letters.replay(letter) is Replay.REPLAYED}

    def _wait_for_another_end(self, apns_ids: Collection[str], gives_up_at: float) -> None:
        while monotonic() < gives_up_at:
            ends = Counter(end.apns_id for end in self.feedback.ended)
            if all(ends[apns_id] > 1 for apns_id in apns_ids):
                return
            sleep(_LOOK_EVERY_S)

    def _look(self, requests: RequestFollower, display: Display) -> int:
        """Show how far everything is; return how many notifications have ended."""
        requests.read()
        self.held.look()
        received = len({request.apns_id for request in requests.received})
        ended = len(self.feedback.apns_ids)
        display.update(len(self.producer.sent), received, ended)
        return ended
