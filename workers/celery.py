"""The Celery app of the fleet: `celery -A workers worker -Q apns.voip`.

Named as Celery expects it in a package, so that `-A workers` finds it. Settings are read at import and checked whole;
signing keys are read by workers only, when their pool starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celery import Celery, signals

from dispatcher import publishing, routing
from dispatcher.broker_address import broker_address
from dispatcher.broker_connection import Brokers
from dispatcher.push_types import Lane
from dispatcher.settings import Settings
from dispatcher.settings_urls import scheme_of
from workers import flower_broker, logs, tasks

_SOCKET_TIMEOUT_S: Final = 10
_REDIS: Final[Mapping[str, Any]] = {
    "worker_disable_prefetch": True,
    "broker_transport_options": {
        "priority_steps": [0],
        "socket_connect_timeout": 5,
        "socket_timeout": _SOCKET_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 25,
        # A message popped by a worker that dies is found by a marker, much sooner than Redis' own list of
        # unacknowledged messages would give it back, and for half the cost.
        "ack_emulation": False,
        "client_name": "apns-worker",
    },
}
_RABBITMQ: Final[Mapping[str, Any]] = {
    # A message is acknowledged when it starts, so this is what waits in a worker that is full. With one of each queue
    # the queues of a lane come in turn, and whatever this worker cannot take another may.
    "consumer_prefetch_count": 1,
    "broker_heartbeat": 5,  # a connection that is silent for twice as long is given up
    "broker_transport_options": {"client_properties": {"connection_name": "apns-worker"}},
}
#: How messages are consumed, by the scheme of the broker's address; any other leads to a Redis.
CONSUMING: Final[Mapping[str, Mapping[str, Any]]] = {"amqp": _RABBITMQ, "amqps": _RABBITMQ}

#: Transports that survive garbage in a queue, by the scheme of kombu's address.
TRANSPORTS: Final[Mapping[str, str]] = {
    "redis": "workers.broker:Transport",
    "rediss": "workers.broker:Transport",
    "redis+socket": "workers.broker:Transport",
    "sentinel": "workers.broker:SentinelTransport",
    "amqp": "workers.amqp_broker:Transport",
    "amqps": "workers.amqp_broker:Transport",
}


def make_app(settings: Settings) -> Celery:
    """Return the app that workers and Flower run."""
    broker_url = settings.broker_url.get_secret_value()
    consuming = CONSUMING.get(scheme_of(broker_url), _REDIS)
    address = broker_address(broker_url, timeout_s=_SOCKET_TIMEOUT_S)
    app = Celery("apns", amqp=Brokers)
    app.conf.update(
        apns_settings=settings,
        task_queues=publishing.queues(broker_url),
        task_default_queue=routing.single_queue(Lane.ALERT),
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,  # the claim protects, not the acknowledgement
        accept_content=["json"],
        worker_pool="workers.pool:AsyncioPool",
        pool_lifespan="workers.runtime:lifespan",
        pool_stop_timeout_s=7.0,  # the last answers and Celery's own end come on top, and all of it is to take 10 s
        worker_consumer="workers.broker:Consumer",
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        **{**consuming, **address.conf(consuming["broker_transport_options"])},
    )
    tasks.register(app)
    return app


@signals.celeryd_init.connect
def survive_garbage(conf: Any, **_: Any) -> None:
    """Let a worker read its broker through a transport that survives garbage in a queue.

    Workers only: Flower knows a broker by the name of its transport.
    """
    conf.broker_transport = TRANSPORTS.get(scheme_of(conf.broker_url))


@signals.celeryd_after_setup.connect
def consume_whole_lanes(instance: Any, **_: Any) -> None:
    """Let a worker of a lane consume all of the lane's queues, though it was started with only one of them."""
    queues = instance.app.amqp.queues
    for queue in list(queues.consume_from):
        for sibling in routing.LANE_QUEUES.get(routing.QUEUE_LANES.get(queue, Lane.ALERT), ()):
            if queue in routing.QUEUE_LANES and sibling not in queues.consume_from:
                queues.select_add(queues[sibling])  # by its name alone it would be declared without its arguments


app = make_app(Settings.from_env())
logs.install()
flower_broker.install()
