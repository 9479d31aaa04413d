"""What each kind of broker needs to know of our queues, and Celery of the broker; a row per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kombu import Exchange, Queue

from dispatcher import routing
from dispatcher.broker_address import broker_address
from dispatcher.settings_urls import broker_urls, scheme_of

#: Queues of RabbitMQ are addressed by their names; this is only what Celery declares them with, which it must.
EXCHANGE: Final = Exchange("apns")

#: RabbitMQ puts what a worker refused into the queue with this before its name.
GARBAGE_PREFIX: Final = "_garbage."
REFUSED_TO: Final = "x-dead-letter-routing-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """How messages are published through one kind of broker.

    Attributes:
        queue: A queue of ours, declared in full, given its name.
        conf: Celery's settings, given the seconds a publication may take and the number of brokers.
    """

    queue: Callable[[str], Queue]
    conf: Callable[[float, int], Mapping[str, Any]]


def _redis_queue(name: str) -> Queue:
    return Queue(name, routing_key=name)


def _redis_conf(timeout_s: float, brokers: int) -> Mapping[str, Any]:
    return {
        "broker_transport_options": {
            "max_retries": brokers - 1,
            "priority_steps": [0],
            "socket_connect_timeout": timeout_s,
            "socket_timeout": timeout_s,
            "socket_keepalive": True,
            "client_name": "apns-producer",
        }
    }


def _rabbitmq_queue(name: str) -> Queue:
    arguments = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", REFUSED_TO: GARBAGE_PREFIX + name}
    return Queue(name, EXCHANGE, routing_key=name, queue_arguments=arguments)


def _rabbitmq_conf(_timeout_s: float, brokers: int) -> Mapping[str, Any]:
    return {
        "broker_transport": "dispatcher.bounded_amqp:PublishingTransport",
        "broker_transport_options": {
            "max_retries": brokers - 1,
            "confirm_publish": True,
            "client_properties": {"connection_name": "apns-producer"},
        },
    }


_REDIS: Final = Publishing(queue=_redis_queue, conf=_redis_conf)
_RABBITMQ: Final = Publishing(queue=_rabbitmq_queue, conf=_rabbitmq_conf)
#: By the scheme of the broker's address; any other leads to a Redis.
PUBLISHING: Final[Mapping[str, Publishing]] = {"amqp": _RABBITMQ, "amqps": _RABBITMQ}


def queues(broker_url: str) -> list[Queue]:
    """Return every queue of ours, declared in full."""
    return [_row(broker_url).queue(name) for name in routing.QUEUE_LANES]


def broker_conf(broker_url: str, *, timeout_s: float) -> dict[str, Any]:
    """Return Celery's settings for publishing through a broker within `timeout_s`."""
    conf = _row(broker_url).conf(timeout_s, len(broker_urls(broker_url)))
    address = broker_address(broker_url, timeout_s=timeout_s)
    return {**conf, **address.conf(conf["broker_transport_options"])}


def _row(broker_url: str) -> Publishing:
    return PUBLISHING.get(scheme_of(broker_url), _REDIS)
