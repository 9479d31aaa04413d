"""What the worker does with messages that nobody should have sent."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any, Final

import pytest
from celery import Celery

from tests.pool.harness import Broker, Worker, until
from workers.broker import KEPT_MESSAGES, garbage_key

SECRET: Final = "text that must not be logged"  # noqa: S105


def message(
    *, body: object = None, properties: object = None, content_type: str = "application/json", **headers: Any
) -> str:
    """Return a message as it lies in Redis; by default a valid one."""
    raw = body if isinstance(body, bytes) else json.dumps([["x", 0], {}, {}] if body is None else body).encode()
    info = {"exchange": "pool", "routing_key": "pool"}
    return json.dumps(
        {
            "body": base64.b64encode(raw).decode(),
            "content-type": content_type,
            "content-encoding": "binary" if content_type.endswith("serialize") else "utf-8",
            "headers": {"task": "pool_app.nap", "id": "1"} | headers,
            "properties": properties or {"delivery_tag": "t", "body_encoding": "base64", "delivery_info": info},
        }
    )


# Each of these ended or stalled a worker with the stock transport and consumer, or was printed whole.
GARBAGE: Final[dict[str, str | bytes]] = {
    "bytes": b"\x00garbage" + SECRET.encode(),
    "not UTF-8": b"\xff\xfe" + SECRET.encode(),
    "an empty list": "[]",
    "a list": json.dumps([SECRET]),
    "an empty object": "{}",
    "a number": "5",
    "deep JSON": b"[" * 60_000 + b"]" * 60_000,
    "an unknown type": json.dumps({"__type__": "x", "__value__": SECRET}),
    "no delivery tag": message(properties={"delivery_info": {"exchange": "", "routing_key": "pool"}}),
    "a list as delivery tag": message(properties={"delivery_tag": [SECRET], "delivery_info": {}}),
    "null as delivery tag": message(
        properties={"delivery_tag": None, "delivery_info": {"exchange": "", "routing_key": "pool"}}
    ),
    "unknown task": message(body=[[SECRET], {}, {}], task="no.such.task"),
    "task name is a list": message(task=[SECRET]),
    "no task": message(body=[SECRET], task=None),
    "an id that is a list": message(id=[SECRET]),
    "pickle": message(body=pickle.dumps([[SECRET], {}, {}]), content_type="application/x-python-serialize"),
    "body is not JSON": message(body=SECRET.encode()),
    "body is a number": message(body=5),
    "body has two parts": message(body=[[SECRET], {}]),
    "time limit is a text": message(timelimit=[SECRET, None]),
    "time limits are one": message(timelimit=[1]),
    "eta is a text": message(eta=SECRET),
    "stamps are a number": message(stamped_headers=5, stamps=5),
    "compressed, it says": message(compression="zlib"),
    "large": message(body=[[SECRET * 200_000], {}, {}], task="no.such.task"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_put_aside_and_counted(valkey: Broker, worker: Worker, client: Celery, garbage: str | bytes) -> None:
    """The worker lives, keeps all its places, tells a hash and not the content, and leaves nothing unacknowledged."""
    counted = valkey.store.llen("garbage:pool")
    done = valkey.number("ended:after")
    for _ in range(worker_places := 8):
        valkey.queue.lpush("pool", garbage)
    for _ in range(worker_places):
        client.send_task("pool_app.nap", ["after", 0.05])
    until(lambda: valkey.number("ended:after") == done + worker_places)
    assert valkey.store.llen("garbage:pool") == counted + worker_places
    assert SECRET not in worker.log
    until(lambda: valkey.queue.hlen("unacked") == 0)
    reserved: Any = client.control.inspect([worker.hostname], timeout=2, limit=1).reserved()
    assert reserved == {worker.hostname: []}


def test_the_last_messages_put_aside_are_kept_in_redis(valkey: Broker, worker: Worker) -> None:
    """An operator finds what was put aside, newest first, up to a limit."""
    kept = garbage_key("pool")
    for number in range(KEPT_MESSAGES + 5):
        valkey.queue.lpush("pool", f"not JSON {number}")
    until(lambda: valkey.queue.lindex(kept, 0) == f"not JSON {KEPT_MESSAGES + 4}")
    assert valkey.queue.llen(kept) == KEPT_MESSAGES
    assert worker.process.poll() is None


def test_a_broadcast_of_garbage_is_survived(valkey: Broker, worker: Worker, client: Celery) -> None:
    """What is not a message on the channel of remote control ends neither the worker nor remote control."""
    for garbage in ("[]", "{}", "5", "no JSON", json.dumps({"properties": {}})):
        assert valkey.queue.publish("/0.celery.pidbox", garbage) == 1
    until(lambda: worker.log.count("queue=broadcast") >= 4)
    pong: Any = client.control.ping([worker.hostname], timeout=2)
    assert pong == [{worker.hostname: {"ok": "pong"}}]
