"""What Celery is told of our queues and of the broker depends on the broker's kind, and is the same for everybody."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher import routing
from dispatcher.broker_address import BrokerAddress, broker_address
from dispatcher.publishing import broker_conf, queues


@pytest.mark.parametrize("url", ["amqp://host", "amqps://one;amqps://two"])
def test_rabbitmq_replicates_each_queue_and_keeps_what_is_refused(url: str) -> None:
    """Each is a quorum queue with a queue for garbage of its own."""
    arguments: dict[str, Any] = {queue.name: queue.queue_arguments for queue in queues(url)}
    assert arguments == {
        name: {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"_garbage.{name}",
        }
        for name in routing.QUEUE_LANES
    }


@pytest.mark.parametrize("url", ["redis://host", "rediss://host", "redis+socket:///x", "sentinel://host?master=one"])
def test_a_redis_knows_no_arguments(url: str) -> None:
    """The queues have the same names there."""
    assert {queue.name: queue.queue_arguments for queue in queues(url)} == dict.fromkeys(routing.QUEUE_LANES)


def test_rabbitmq_confirms_what_is_published() -> None:
    """Through a transport that waits no longer than it may; and each broker of a list is tried once."""
    conf = broker_conf("amqp://one;amqp://two", timeout_s=1.0)
    assert conf["broker_transport_options"]["confirm_publish"] is True
    assert conf["broker_transport_options"]["max_retries"] == 1
    assert conf["broker_transport"] == "dispatcher.bounded_amqp:PublishingTransport"


def test_tls_to_rabbitmq_verifies_the_name() -> None:
    """Celery gets the files under py-amqp's names, and the address without them."""
    url = "amqps://apns:pw@one/v?ssl_ca_certs=/ca.pem;amqps://apns:pw@two/v?ssl_certfile=/me.pem&ssl_keyfile=/me.key"
    assert broker_address(url, timeout_s=1.0) == BrokerAddress(
        url="amqps://apns:pw@one/v;amqps://apns:pw@two/v",
        use_ssl={
            "server_hostname": None,
            "ca_certs": "/ca.pem",
            "certfile": "/me.pem",
            "keyfile": "/me.key",
        },
    )


def test_without_tls_an_address_stays_as_it_is() -> None:
    """Nothing is said of TLS where there is none."""
    assert broker_address("amqp://host//", timeout_s=1.0) == BrokerAddress(url="amqp://host//")
