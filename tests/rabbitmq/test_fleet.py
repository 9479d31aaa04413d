"""A fleet whose messages go through RabbitMQ does what it does with Redis."""

from __future__ import annotations

import json
import signal
from typing import Any, Final
from urllib.request import urlopen

import amqp
import pytest

from dispatcher import Lane
from dispatcher.dev.simulator.device_tokens import device_token
from tests.rabbitmq.node import FLEET_VHOST, Node

APP: Final = "com.example.app"
ALERT: Final = {"aps": {"alert": "Hello"}}
#: Batches in flight of the alert lane's worker.
PLACES: Final = 20


def waiting(channel: Any, queue: str) -> int:
    """Return how many messages of a queue no worker has taken."""
    return int(channel.queue_declare(queue, passive=True).message_count)


def alert_worker(fleet: Any) -> Any:
    """Return the process of the alert lane's worker."""
    (child,) = (child for child in fleet.stack.children if child.name.startswith("alert"))
    return child


def test_every_lane_delivers_once(fleet: Any) -> None:
    """Calls, single alerts, a campaign and an update arrive, each once, each said to be queued."""
    receipts = [fleet.push.voip(APP, device_token(each), {"call": "1"}) for each in range(50)]
    receipts += [fleet.push.alert(APP, device_token(each), title="Hello") for each in range(50)]
    receipts += [fleet.push.background(APP, device_token(10**5 + each)) for each in range(5)]
    campaign = fleet.push.send_many(APP, map(device_token, range(2_000)), payload=ALERT, push_type="alert")
    assert all(receipt.queued for receipt in (*receipts, *campaign.batches))
    fleet.wait_until_settled()
    seen = fleet.seen()
    assert {seen[receipt.apns_id] for receipt in receipts} == {1}
    assert (len(seen), sum(seen.values())) == (2_105, 2_105)


def test_single_alerts_and_a_campaign_come_in_turn(fleet: Any, channel: Any) -> None:
    """Beside a backlog of a campaign each single alert waits for about one message of it, not for all before it."""
    fleet.hold_answers()
    for number in range(200):
        fleet.push.send_many(APP, [device_token(number)], payload=ALERT, push_type="alert")
    receipts = [fleet.push.alert(APP, device_token(10**4 + each), title="Hello") for each in range(50)]
    assert waiting(channel, "apns.alert.bulk") > 150
    fleet.release_answers()
    fleet.wait_until_settled()
    order = [request["apns_id"] for request in fleet.requests()]
    last = max(order.index(receipt.apns_id) for receipt in receipts)
    before = last + 1 - len(receipts)
    assert before <= PLACES + 2 * len(receipts)


def test_a_full_worker_hoards_no_messages_and_gives_back_what_it_has(fleet: Any, channel: Any) -> None:
    """One message of each queue waits in it; when it stops, that one is back in the queue."""
    fleet.hold_answers()
    try:
        for number in range(PLACES + 10):
            fleet.push.send_many(APP, [device_token(number)], payload=ALERT, push_type="alert")
        fleet.wait_for(lambda: waiting(channel, "apns.alert.bulk") <= 9)
        with pytest.raises(AssertionError):
            fleet.wait_for(lambda: waiting(channel, "apns.alert.bulk") < 9, within_s=0.5)
        worker = alert_worker(fleet)
        worker.send_signal(signal.SIGTERM)
        fleet.wait_for(lambda: waiting(channel, "apns.alert.bulk") == 10)
    finally:
        fleet.release_answers()
    fleet.wait_for(lambda: not worker.is_running)
    fleet.stack.revive()


@pytest.mark.usefixtures("fleet")
def test_nothing_is_declared_for_delays(node: Node) -> None:
    """Celery's exchanges and queues for delayed delivery are not there: the state server holds what comes later."""
    with node.connect(vhost=FLEET_VHOST) as connection:
        for name in ("celery_delayed_0", "celery_delayed_27", "celery_delayed_delivery"):
            with pytest.raises(amqp.NotFound):
                connection.channel().exchange_declare(name, "topic", passive=True)


def test_operators_tools_work(fleet: Any, control: Any) -> None:
    """Ping, inspect and revoke do what they do with Redis."""
    fleet.wait_for(lambda: len(control.ping(timeout=1, limit=len(Lane))) == len(Lane))
    (name,) = (name for answer in control.ping(timeout=1, limit=len(Lane)) for name in answer if "alert" in name)
    inspect = control.inspect([name], timeout=2, limit=1)
    consumed = {queue["name"]: queue["queue_arguments"]["x-queue-type"] for queue in inspect.active_queues()[name]}
    assert consumed == {"apns.alert": "quorum", "apns.alert.bulk": "quorum"}
    assert inspect.stats()[name]["prefetch_count"] == 1
    control.revoke("00000000-0000-0000-0000-000000000001", destination=[name])
    fleet.wait_for(lambda: inspect.revoked()[name] == ["00000000-0000-0000-0000-000000000001"])


def test_flower_shows_the_fleet(fleet: Any) -> None:
    """Its workers, and each task with a short result in words."""
    before = calls_sent(fleet)
    fleet.push.voip(APP, device_token(7), {"call": "1"})
    fleet.wait_for(lambda: calls_sent(fleet) == before + 1)
    fleet.wait_for(lambda: len(shown(fleet, "/api/workers?refresh=1")) >= len(Lane))


def calls_sent(fleet: Any) -> int:
    """Return how many calls Flower has seen sent."""
    return sum(
        (task["name"], str(task["result"]).strip("'")) == ("apns.voip", "sent 1")
        for task in shown(fleet, "/api/tasks?limit=10000").values()
    )


def shown(fleet: Any, path: str) -> Any:
    """Return an answer of Flower's API."""
    with urlopen(f"{fleet.stack.flower_url}{path}", timeout=10) as answer:  # noqa: S310  our own address
        return json.load(answer)
