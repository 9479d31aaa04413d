"""What a worker does with messages of RabbitMQ's that nobody should have sent."""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any, Final

import amqp

from dispatcher import Lane
from dispatcher.dev.simulator.device_tokens import device_token
from workers.amqp_broker import KEPT_MESSAGES

APP: Final = "com.example.app"
QUEUE: Final = "apns.alert"
KEPT_IN: Final = "_garbage.apns.alert"
SECRET: Final = "text that must not be logged"  # noqa: S105


class Raw(amqp.Message):
    """A message whose properties are sent as they are given: flags, and whatever follows."""

    def __init__(self, properties: bytes) -> None:
        super().__init__(SECRET)
        self._raw = properties

    def _serialize_properties(self) -> bytes:
        return self._raw


def message(
    body: object = None, *, content_type: str = "application/json", headers: object = None, **changed: Any
) -> amqp.Message:
    """Return a message; by default a valid one but for its batch id."""
    raw = body if isinstance(body, (str, bytes)) else json.dumps([[SECRET], {}, {}] if body is None else body)
    encoding = "binary" if content_type.endswith("serialize") else "utf-8"
    usual = {"task": "apns.alert", "id": "1", "argsrepr": "()", "kwargsrepr": "{}"}
    return amqp.Message(
        raw,
        content_type=content_type,
        content_encoding=encoding,
        application_headers=usual | changed if headers is None else headers,
    )


def table(name: bytes, kind: bytes, value: bytes) -> bytes:
    """Return properties with one header."""
    header = bytes([len(name)]) + name + kind + value
    return struct.pack(">HI", 1 << 13, len(header)) + header


# Any of these ends a worker of stock Celery and py-amqp, or is printed whole, or is acknowledged and forgotten.
GARBAGE: Final[dict[str, amqp.Message]] = {
    "bytes": amqp.Message(b"\x00garbage" + SECRET.encode()),
    "nothing": amqp.Message(b""),
    "a list": message([SECRET], headers={}),
    "an empty object": message({}, headers={}),
    "a number": message(5, headers={}),
    "deep JSON": message("[" * 60_000 + "]" * 60_000),
    "an unknown type": message({"__type__": "x", "__value__": SECRET}),
    "unknown task": message(task="no.such.task"),
    "task name is a list": message(task=[SECRET]),
    "task name is bytes": message(task=b"\xff\xfe"),
    "no task": message([SECRET], task=None),
    "an id that is a list": message(id=[SECRET]),
    "pickle": message(pickle.dumps([[SECRET], {}, {}]), content_type="application/x-python-serialize"),
    "body is not JSON": message(SECRET),
    "body is a number": message(5),
    "body has two parts": message([[SECRET], {}]),
    "time limit is a text": message(timelimit=[SECRET, None]),
    "eta is a text": message(eta=SECRET),
    "stamps are a number": message(stamped_headers=5, stamps=5),
    "compressed, it says": message(compression="zlib"),
    "large": message([[SECRET * 40_000], {}, {}], task="no.such.task"),
    "content type is not UTF-8": Raw(struct.pack(">HB", 1 << 15, 2) + b"\xff\xfe"),
    "a time in the year 292277026596": Raw(table(b"task", b"T", b"\x7f" + b"\xff" * 7)),
    "a decimal with 255 places": Raw(table(b"task", b"D", b"\xff" + b"\x7f" * 4)),
}


def test_garbage_is_put_aside_and_counted(fleet: Any, channel: Any) -> None:
    """The worker lives, loses nothing else, tells a hash and not the content, and the last pieces are kept."""
    (worker,) = (child for child in fleet.stack.children if child.name.startswith("alert"))
    receipts = []
    for number, garbage in enumerate(GARBAGE.values()):
        channel.basic_publish(garbage, routing_key=QUEUE)
        receipts.append(fleet.push.alert(APP, device_token(number), title="Hello"))
    fleet.wait_until_settled()
    fleet.wait_for(lambda: fleet.counters("garbage") == len(GARBAGE))
    assert worker.is_running
    assert fleet.seen() == {receipt.apns_id: 1 for receipt in receipts}
    assert SECRET not in worker.log.read_text(encoding="utf-8")
    assert channel.queue_declare(QUEUE, passive=True).message_count == 0
    fleet.wait_for(lambda: 0 < channel.queue_declare(KEPT_IN, passive=True).message_count <= KEPT_MESSAGES)


def test_a_broadcast_of_garbage_is_survived(fleet: Any, channel: Any, control: Any) -> None:
    """What is not a message on the exchange of remote control ends neither a worker nor remote control."""
    for number, garbage in enumerate(GARBAGE.values()):
        channel.basic_publish(garbage, exchange="celery.pidbox")
        # One by one: after some of them Celery opens a channel anew, which hides what others do to it.
        receipt = fleet.push.voip(APP, device_token(number), {"call": "1"})
        fleet.wait_for(lambda expected=receipt.apns_id: fleet.seen()[expected] == 1)
    fleet.wait_for(lambda: len(control.ping(timeout=1, limit=len(Lane))) == len(Lane))
    fleet.wait_until_settled()
    assert len(fleet.seen()) == len(GARBAGE)
    assert all(child.is_running for child in fleet.stack.children)
    assert not [child.name for child in fleet.stack.children if SECRET in child.log.read_text(encoding="utf-8")]
