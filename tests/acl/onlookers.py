"""What those do who look on, and what Celery and kombu do behind everybody's back now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final
from urllib.request import urlopen

from dispatcher import Lane, redis_keys, routing
from dispatcher.dev.users import Role
from dispatcher.messages import Publisher, make_celery
from tests.acl.everybody import FEEDBACK_QUEUE, FEEDBACK_TASK, Everybody
from tests.running_fleet import APP

_EXCHANGES: Final = ("celeryev", "celery.pidbox", "reply.celery.pidbox")
_SWEEPERS: Final = (Role.WORKER, Role.FLOWER, Role.OPERATOR)


def look_on(everybody: Everybody) -> None:
    """Look at Flower, ask for figures, and ask the workers."""
    everybody.fleet.wait_for(lambda: _shows_every_queue(everybody.stack.flower_url))
    with everybody.connect(Role.EXPORTER) as exporter:
        for ask in questions(exporter):
            ask()
    with everybody.celery(Role.OPERATOR) as operator:
        assert len(operator.control.inspect(timeout=1.0).ping() or ()) == len(Lane)
    receive_events(everybody)
    for role in _SWEEPERS:
        sweep_bindings(everybody, role)


def _shows_every_queue(flower_url: str) -> bool:
    """Let Flower ask the workers, and tell whether it has learnt from them which queues there are."""
    for path in ("/workers?refresh=1", "/tasks"):
        assert _page(f"{flower_url}{path}")
    shown = _page(f"{flower_url}/broker")
    return all(f">{queue}<" in shown for queue in routing.QUEUE_LANES)


def _page(url: str) -> str:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  our own address
        page: bytes = answer.read()
    return page.decode()


def questions(exporter: Any) -> Iterator[Callable[[], Any]]:
    """Yield what a reader of the fleet's figures asks of the server, and of one shard, app and queue."""
    yield from (exporter.ping, exporter.info, exporter.time)
    yield partial(exporter.hgetall, redis_keys.counters(0))
    yield partial(exporter.hgetall, redis_keys.paused())
    waiting = [redis_keys.workers(), redis_keys.held(0, APP)]
    waiting += [redis_keys.slot_leased(0, APP), redis_keys.slot_parked(0, APP)]
    for queue in routing.QUEUE_LANES:
        yield partial(exporter.llen, queue)
        yield partial(exporter.hmget, redis_keys.marker(queue), "age")
        yield partial(exporter.zrange, redis_keys.queued(0, queue), 0, 0, withscores=True)
        waiting.append(redis_keys.queued(0, queue))
    for lane in Lane:
        waiting += [redis_keys.due(0, lane), redis_keys.leased(0, lane), redis_keys.parked(0, APP, lane)]
    for place in waiting:
        yield partial(exporter.zcard, place)
        yield partial(exporter.zcount, place, "-inf", "+inf")
    yield partial(exporter.zrange, redis_keys.workers(), 0, -1, withscores=True)
    yield partial(exporter.xlen, redis_keys.feedback(0))
    yield partial(exporter.xlen, redis_keys.dead(0, APP))


def take_and_give_back(everybody: Everybody) -> None:
    """Take messages as the web app's Celery worker and give them back: one at once, one by going away."""
    with make_celery(everybody.url(Role.WORKER), timeout_s=5) as celery:
        publisher = Publisher(celery)
        assert all(publisher.call_feedback_task(FEEDBACK_TASK, FEEDBACK_QUEUE, APP) for _ in range(2))
    with everybody.connect_as_shop() as connection:
        queue = connection.SimpleQueue(FEEDBACK_QUEUE)
        queue.get(timeout=5).requeue()
        queue.get(timeout=5)
        queue.close()
    assert everybody.admin.llen(FEEDBACK_QUEUE) == 2
    everybody.admin.delete(FEEDBACK_QUEUE)


def receive_events(everybody: Everybody) -> None:
    """Listen to events as Flower does, and stop, as it does when its connection was lost."""
    with everybody.celery(Role.FLOWER) as flower, flower.connection() as connection:
        receiver = flower.events.Receiver(connection)
        receiver.handlers["*"] = lambda _event: setattr(receiver, "should_stop", True)
        receiver.capture(limit=None, timeout=10, wakeup=False)
        assert receiver.should_stop


def sweep_bindings(everybody: Everybody, role: Role) -> None:
    """Clear away what consumers left that are gone, as kombu does now and then."""
    deadlines = dict.fromkeys(_EXCHANGES, 1)
    everybody.admin.zadd("_kombu.binding_deadlines", deadlines)
    with everybody.celery(role) as celery, celery.connection() as connection:
        channel: Any = connection.channel()
        assert channel.sweep_bindings() == len(_EXCHANGES)
        channel.close()
