"""RabbitMQ dies, the network tears, falls silent: what was accepted is delivered, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from dispatcher import Receipt
from dispatcher.bounded_amqp import LONGEST_SILENCE_S
from dispatcher.dev.simulator.device_tokens import device_token
from tests.chaos.proxy import BLACK_HOLE, Network, Proxy
from tests.rabbitmq.node import Node

APP: Final = "com.example.app"
EVERY_S: Final = 0.02
#: Half of APNS_TIMEOUT, and what a busy machine adds.
SLOWEST_S: Final = 1.0 + 0.5
#: Two heartbeats and the next look at them; an answer that the worker may be waiting for; what a busy machine adds.
NOTICED_WITHIN_S: Final = 2 * 5 + 2 + LONGEST_SILENCE_S + 3
#: The longest pause between two tries, and what a busy machine adds.
BACK_WITHIN_S: Final = 5 + 5


class Load:
    """A web app that sends an alert every now and then."""

    def __init__(self, push: Any) -> None:
        self.receipts: list[Receipt] = []
        self.slowest_s = 0.0
        self._push = push
        self._has_ended = threading.Event()

    def run(self) -> None:
        """Send until told to end."""
        while not self._has_ended.wait(EVERY_S):
            started = time.monotonic()
            receipt = self._push.alert(APP, device_token(len(self.receipts)), title="Hello")
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
            self.receipts.append(receipt)

    def end(self) -> None:
        """End."""
        self._has_ended.set()


@contextmanager
def load_on(fleet: Any) -> Iterator[Load]:
    """Let a web app send meanwhile."""
    load = Load(fleet.push)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        fleet.wait_for(lambda: len(load.receipts) >= 20)
        yield load
    finally:
        load.end()
        thread.join()


def losses(fleet: Any) -> int:
    """Return how often workers have noticed that the broker was lost."""
    logs = [child.log.read_text(encoding="utf-8") for child in fleet.stack.children]
    return sum(log.count("Connection to broker lost") for log in logs)


def assert_delivered_once(fleet: Any, load: Load) -> None:
    """Everything accepted is delivered, none of it twice, and no call of the web app took too long."""
    fleet.wait_until_settled(within_s=45)
    seen = fleet.seen()
    assert {receipt.apns_id: seen[receipt.apns_id] for receipt in load.receipts if seen[receipt.apns_id] != 1} == {}
    assert load.slowest_s < SLOWEST_S


def test_torn_connections(fleet: Any, fleet_network: Proxy) -> None:
    """Everybody connects again at once and nothing is lost or sent twice."""
    with load_on(fleet) as load:
        for _ in range(3):
            fleet_network.reset_all()
            sent = len(load.receipts)
            fleet.wait_for(lambda sent=sent: len(load.receipts) > sent + 10 and fleet_network.connections > 3)
    assert_delivered_once(fleet, load)


def test_a_black_hole(fleet: Any, fleet_network: Proxy) -> None:
    """Workers notice by the missing heartbeats, and are back soon after it ends."""
    lost = losses(fleet)
    fleet_network.set(Network(hold=BLACK_HOLE))
    workers = 3
    fleet.wait_for(lambda: losses(fleet) >= lost + workers, within_s=NOTICED_WITHIN_S)
    fleet_network.set(Network())
    with load_on(fleet) as load:
        fleet.wait_for(lambda: len(fleet.seen()) >= 20, within_s=BACK_WITHIN_S)
    assert_delivered_once(fleet, load)


def test_rabbitmq_killed_under_load(fleet: Any, node: Node) -> None:
    """While it is gone receipts say not queued; when it is back everything is delivered, once."""
    with load_on(fleet) as load:
        node.kill()
        fleet.wait_for(lambda: sum(not receipt.queued for receipt in load.receipts) >= 20)
        node.launch()
        node.wait_until_ready()
        sent = len(load.receipts)
        fleet.wait_for(lambda: any(receipt.queued for receipt in load.receipts[sent:]))
    assert_delivered_once(fleet, load)
