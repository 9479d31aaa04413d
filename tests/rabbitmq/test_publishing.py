"""What a web app meets when the broker is RabbitMQ: a receipt in time, whatever the broker does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import amqp
import pytest

from dispatcher import Dispatcher
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.messages import PAUSE_S, make_celery
from tests.chaos.proxy import BLACK_HOLE, Direction, Network, Proxy
from tests.conftest import Eventually
from tests.rabbitmq.node import PASSWORD, Node

APP: Final = "com.example.app"
QUEUE: Final = "apns.alert"
#: Half of APNS_TIMEOUT, which the state server has the other half of; and what a busy machine adds.
LIMIT_S: Final = 1.0 + 0.5
#: As the queues are declared.
ARGUMENTS: Final = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": f"_garbage.{QUEUE}",
}

PushThrough = Callable[..., Dispatcher]


def is_queued(push: Dispatcher) -> bool:
    """Send an alert and tell whether the broker took its message; the receipt comes in time."""
    started = time.monotonic()
    receipt = push.alert(APP, device_token(1), title="Hello")
    assert time.monotonic() - started < LIMIT_S
    return receipt.queued


def test_a_message_is_kept_by_a_replicated_queue(node: Node, queues: Any, push_through: PushThrough) -> None:
    """The queue is a quorum queue, the message persistent, and it holds a batch id and nothing else of ours."""
    push = push_through(node.url)
    receipt = push.alert(APP, device_token(1), title="secret")
    assert receipt.queued
    queues.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=ARGUMENTS)  # RabbitMQ refuses any difference
    message = queues.basic_get(QUEUE, no_ack=True)
    assert message.properties["delivery_mode"] == 2
    (batch_id,), _, _ = json.loads(message.body)
    assert batch_id == receipt.apns_id
    assert "secret" not in repr(message.properties) + message.body


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("hold", [BLACK_HOLE, frozenset({Direction.TO_CLIENT})], ids=["nothing passes", "no answers"])
@pytest.mark.parametrize("is_connected", [False, True], ids=["new connection", "old connection"])
def test_a_broker_that_never_confirms_costs_one_timeout(
    network: Proxy,
    node: Node,
    push_through: PushThrough,
    hold: frozenset[Direction],
    *,
    is_connected: bool,
) -> None:
    """The receipt says not queued within the timeout; while the broker is left alone further ones say so at once."""
    push = push_through(node.url_at(network.port))
    assert not is_connected or is_queued(push)
    network.set(Network(hold=hold))
    assert not is_queued(push)
    started = time.monotonic()
    assert [is_queued(push) for _ in range(20)] == [False] * 20
    assert time.monotonic() - started < LIMIT_S


def test_a_confirmation_that_comes_late_counts_for_nothing(
    queues: Any, network: Proxy, node: Node, push_through: PushThrough, eventually: Eventually
) -> None:
    """It is not taken for that of the next message: whatever is said to be queued is in the queue."""
    push = push_through(node.url_at(network.port))
    assert is_queued(push)
    network.set(Network(hold=frozenset({Direction.TO_CLIENT})))
    assert not is_queued(push)
    network.set(Network())
    eventually(lambda: is_queued(push), within_s=PAUSE_S + 5)
    queues.queue_purge(QUEUE)
    assert [is_queued(push) for _ in range(5)] == [True] * 5
    assert queues.queue_declare(QUEUE, passive=True).message_count == 5


def test_a_connection_that_has_ended_is_replaced_before_it_is_used(
    queues: Any, network: Proxy, node: Node, push_through: PushThrough, eventually: Eventually
) -> None:
    """A web app that was idle while the broker or the network was restarted does not notice it."""
    push = push_through(node.url_at(network.port))
    assert is_queued(push)
    network.reset_all()
    eventually(lambda: network.connections == 0)
    assert is_queued(push)
    assert queues.queue_declare(QUEUE, passive=True).message_count == 2


def test_a_dispatcher_is_shared_by_threads(queues: Any, node: Node, push_through: PushThrough) -> None:
    """Twice as many threads as connections: each receipt says queued, and the queue holds as many messages."""
    push = push_through(node.url, APNS_TIMEOUT="20")
    answers: list[bool] = []

    def send() -> None:
        answers.extend(push.alert(APP, device_token(1), title="Hello").queued for _ in range(5))

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [True] * 100
    assert queues.queue_declare(QUEUE, passive=True).message_count == 100


FORKING: Final = """
import os
from dispatcher import Dispatcher
from dispatcher.dev.simulator.device_tokens import device_token
push = Dispatcher.from_env()
send = lambda count: [push.alert("com.example.app", device_token(1), title="Hello").queued for _ in range(count)]
assert all(send(1))
child = os.fork()
are_queued = all(send(50))
if not child:
    os._exit(0 if are_queued else 1)
_, status = os.waitpid(child, 0)
print(are_queued, status)
"""


def test_a_dispatcher_may_be_used_before_a_fork(queues: Any, node: Node, env: dict[str, str], root: Path) -> None:
    """Child and parent go on at the same time, with connections of their own."""
    own = {**env, "APNS_BROKER_URL": node.url, "APNS_STATE_URL": env["APNS_BROKER_URL"]}
    done = subprocess.run(
        [sys.executable, "-c", FORKING], cwd=root, env=own, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True 0", done.stderr
    assert queues.queue_declare(QUEUE, passive=True).message_count == 101


def test_a_queue_of_another_kind_costs_no_notification(queues: Any, node: Node, push_through: PushThrough) -> None:
    """Where somebody made a classic queue of that name the receipt says not queued, and nothing is raised."""
    queues.queue_declare(QUEUE, durable=True, auto_delete=False)
    assert not is_queued(push_through(node.url))
    queues.queue_delete(QUEUE)


def test_a_wrong_password_costs_no_notification(node: Node, push_through: PushThrough) -> None:
    """The receipt says not queued, within the timeout."""
    assert not is_queued(push_through(node.url.replace(PASSWORD, "wrong")))


def test_the_next_broker_of_a_list_is_taken(queues: Any, network: Proxy, node: Node, push_through: PushThrough) -> None:
    """With the first broker gone a message goes to the second at once, which is waited for no longer than the first."""
    push = push_through(f"{node.url_at(free_port())};{node.url_at(network.port)}")
    assert is_queued(push)
    assert queues.queue_declare(QUEUE, passive=True).message_count == 1
    network.set(Network(hold=BLACK_HOLE))
    assert not is_queued(push)


def test_purge_empties_a_queue(queues: Any, node: Node, push_through: PushThrough) -> None:
    """`celery purge` takes out what lies in our queues."""
    push = push_through(node.url)
    assert [is_queued(push) for _ in range(3)] == [True] * 3
    app = make_celery(node.url, timeout_s=5)
    assert app.control.purge() == 3
    app.producer_pool.connections.force_close_all()
    assert queues.queue_declare(QUEUE, passive=True).message_count == 0


@pytest.mark.usefixtures("queues")
def test_a_web_apps_user_publishes_and_cannot_read(node: Node, push_through: PushThrough) -> None:
    """With the rights that deploy/README.md names it can send to the queues that workers have made."""
    assert is_queued(push_through(node.url)), "as a worker's user"
    assert is_queued(push_through(node.url_at(node.port, user="web")))
    with node.connect(user="web") as connection, pytest.raises(amqp.AccessRefused):
        connection.channel().basic_get(QUEUE)


@pytest.mark.usefixtures("queues")
def test_certificate_and_name_are_verified(node: Node, push_through: PushThrough) -> None:
    """Over TLS a broker is used if the authority that is trusted vouches for it and for the name it is called by."""
    address = f"amqps://apns:{PASSWORD}@{HOST}:{node.tls_port}/web"
    known = f"?ssl_ca_certs={node.ca_file}"
    assert is_queued(push_through(address + known))
    assert not is_queued(push_through(address)), "nobody vouches for it"
    assert not is_queued(push_through(address.replace(HOST, "127.0.0.2") + known)), "not its name"
