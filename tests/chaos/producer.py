"""A web app's part of a run: enqueues a mixture at a steady rate, and writes each receipt down before anything else.

    python -m tests.chaos.producer --file receipts.jsonl --rate 130 --seconds 60 --seed 1

A call that fails is made again with its idempotency key until it is accepted, as a careful caller does. Every line of
the file is one accepted notification, or one failed call with what it cost.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from dispatcher import BulkReceipt, Dispatcher, EnqueueError, Receipt, Report, ids
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.push_types import Lane

APP: Final = "com.example.app"
#: Shares of the load, in calls' worth of notifications.
VOIP_SHARE: Final = 0.05
BACKGROUND_SHARE: Final = 0.35
#: Of ten alerts so many go in bulk calls.
BULK_OF_TEN: Final = 5
BULK_SIZE: Final = 40
CALL_S: Final = 30.0
DEVICES: Final = 2_000
PAUSE_AFTER_FAILURE_S: Final = 0.2


@dataclass(slots=True, kw_only=True)
class Producer:
    """Makes calls and writes down what came of them.

    Attributes:
        push: What it calls.
        file: Where it writes.
        dice: Decide what is sent to whom.
        name: Begins every idempotency key, so that two producers do not share one.
    """

    push: Dispatcher
    file: TextIO
    dice: random.Random
    name: str
    calls: int = 0
    version: int = 0

    def one(self) -> int:
        """Make one call of any kind; return how many notifications it was."""
        kind = self.dice.random()
        if kind < VOIP_SHARE:
            return self.call()
        if kind < VOIP_SHARE + BACKGROUND_SHARE:
            return self.update()
        # A bulk call is many notifications: it comes so much more rarely.
        is_bulk = self.dice.random() * BULK_SIZE < BULK_OF_TEN / (10 - BULK_OF_TEN)
        return self.bulk() if is_bulk else self.alert()

    def call(self) -> int:
        """Let a phone ring."""
        device = self.device()
        receipt = self.until_accepted(
            lambda key: self.push.voip(
                APP,
                device,
                {"call": "8e21"},
                expires_in=CALL_S,
                idempotency_key=key,
                report=Report.EVERYTHING,
            )
        )
        # The state server counts from when it accepted the call, which was not later than now.
        self.write(receipt.apns_id, Lane.VOIP, device, deadline=time.time() + CALL_S)
        return 1

    def update(self) -> int:
        """Tell a device's app that there is news; a few devices get most of it."""
        self.version += 1
        return self.update_of(self.popular_device(), self.version)

    def update_of(self, device: str, version: int) -> int:
        """Tell a device's app of a version."""
        receipt = self.until_accepted(
            lambda key: self.push.background(
                APP, device, {"version": version}, idempotency_key=key, report=Report.EVERYTHING
            )
        )
        self.write(receipt.apns_id, Lane.BACKGROUND, device, version=version)
        return 1

    def alert(self) -> int:
        """Show somebody something."""
        device = self.device()
        receipt = self.until_accepted(
            lambda key: self.push.alert(APP, device, title="Hello", idempotency_key=key, report=Report.EVERYTHING)
        )
        self.write(receipt.apns_id, Lane.ALERT, device)
        return 1

    def bulk(self) -> int:
        """Show many people the same."""
        return self.alerts_to([self.device() for _ in range(BULK_SIZE)])

    def alerts_to(self, devices: Sequence[str]) -> int:
        """Show the same on these devices."""
        receipt = self.until_accepted(
            lambda key: self.push.send_many(
                APP,
                devices,
                payload={"aps": {"alert": "News"}},
                push_type="alert",
                idempotency_key=key,
                report=Report.EVERYTHING,
            )
        )
        for apns_id, device in zip(apns_ids(receipt), devices, strict=True):
            self.write(apns_id, Lane.ALERT, device)
        return len(devices)

    def until_accepted(self, call: Callable[[str], Any]) -> Any:
        """Make a call until it is accepted, always with the same key; return its receipt."""
        self.calls += 1
        key = f"{self.name}-{self.calls}"
        while True:
            begun = time.monotonic()
            try:
                receipt: Receipt | BulkReceipt = call(key)
            except EnqueueError as exc:
                took_s = round(time.monotonic() - begun, 3)
                self.say(failed=type(exc).__name__, certainly=exc.certainly_not_accepted, took_s=took_s, at=time.time())
                time.sleep(PAUSE_AFTER_FAILURE_S)
            else:
                return receipt

    def write(self, apns_id: str, lane: Lane, device: str, **more: float) -> None:
        """Note an accepted notification."""
        self.say(apns_id=apns_id, lane=lane, device_token=device, at=time.time(), **more)

    def say(self, **fields: Any) -> None:
        """Write a line."""
        self.file.write(json.dumps(fields) + "\n")
        self.file.flush()

    def device(self) -> str:
        """Return any device."""
        return device_token(self.dice.randrange(DEVICES))

    def popular_device(self) -> str:
        """Return a device, the more often the lower its number: half of all updates go to a twentieth of them."""
        return device_token(DEVICES + int(DEVICES * self.dice.random() ** 4))


def apns_ids(receipt: BulkReceipt) -> Iterator[str]:
    """Yield the apns ids of a bulk receipt, in order."""
    for batch in receipt.batches:
        for index in range(batch.count):
            yield ids.apns_id_of(batch.batch_id, index)


def main() -> None:
    """Enqueue until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.producer")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    with Dispatcher.from_env() as push, options.file.open("a", encoding="utf-8") as file:
        dice = random.Random(options.seed)  # noqa: S311  (dice, no secrets)
        producer = Producer(push=push, file=file, dice=dice, name=f"{options.file.stem}-{options.seed}")
        begun, sent = time.monotonic(), 0
        while (passed_s := time.monotonic() - begun) < options.seconds:
            sent += producer.one()
            # Behind the rate after an outage it does not hurry: a web app's requests were refused in the meantime.
            ahead_s = sent / options.rate - passed_s
            if ahead_s > 0:
                time.sleep(ahead_s)
            elif ahead_s < -1:
                begun -= ahead_s


if __name__ == "__main__":
    main()
