"""The Celery app of the fleet: `celery -A workers worker -Q apns.voip`.

Named as Celery expects it in a package, so that `-A workers` finds it. Settings are read at import and checked whole;
signing keys are read by workers only, when their pool starts.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery, signals

from dispatcher import messages, routing
from dispatcher.broker_address import broker_address
from dispatcher.push_types import Lane
from dispatcher.settings import Settings
from workers import logs, tasks

_SOCKET_TIMEOUT_S: Final = 10
#: Beginning of kombu's address -> our transport.
_TRANSPORTS: Final = {
    "redis://": "workers.broker:Transport",
    "rediss://": "workers.broker:Transport",
    "redis+socket://": "workers.broker:Transport",
    "sentinel://": "workers.broker:SentinelTransport",
}


def make_app(settings: Settings) -> Celery:
    """Return the app that workers and Flower run."""
    address = broker_address(settings.broker_url.get_secret_value(), timeout_s=_SOCKET_TIMEOUT_S)
    app = Celery("apns", broker=address.url)
    app.conf.update(
        apns_settings=settings,
        task_queues=messages.queues(),
        task_default_queue=routing.single_queue(Lane.ALERT),
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,  # the claim protects, not the acknowledgement
        accept_content=["json"],
        worker_pool="workers.pool:AsyncioPool",
        pool_lifespan="workers.runtime:lifespan",
        pool_stop_timeout_s=7.75,
        worker_consumer="workers.broker:Consumer",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_disable_rate_limits=True,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_use_ssl=address.use_ssl,
        broker_transport_options={
            "priority_steps": [0],
            "socket_connect_timeout": 5,
            "socket_timeout": _SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # A message popped by a worker that dies is found by a marker, much sooner than Redis' own list of
            # unacknowledged messages would give it back, and for half the cost.
            "ack_emulation": False,
            "client_name": "apns-worker",
            **address.transport_options,
        },
    )
    tasks.register(app)
    return app


@signals.celeryd_init.connect
def survive_garbage(conf: Any, **_: Any) -> None:
    """Let a worker read Redis through a transport that survives garbage in a queue.

    Workers only: Flower knows a broker by the name of its transport.
    """
    for beginning, transport in _TRANSPORTS.items():
        if conf.broker_url.startswith(beginning):
            conf.broker_transport = transport


@signals.celeryd_after_setup.connect
def consume_whole_lanes(instance: Any, **_: Any) -> None:
    """Let a worker of a lane consume all of the lane's queues, though it was started with only one of them."""
    selected = instance.app.amqp.queues.consume_from
    for queue in list(selected):
        for sibling in routing.LANE_QUEUES.get(routing.QUEUE_LANES.get(queue, Lane.ALERT), ()):
            if queue in routing.QUEUE_LANES and sibling not in selected:
                instance.app.amqp.queues.select_add(sibling)


app = make_app(Settings.from_env())
logs.install()
