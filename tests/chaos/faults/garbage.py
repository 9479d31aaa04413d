"""P2: what nobody should have put into a queue or into the place of a record."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from dispatcher import Lane, redis_keys
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.dev.children import poll
from dispatcher.dev.simulator.device_tokens import device_token
from tests.chaos.faults.load import steadily
from tests.chaos.producer import APP
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless

QUEUE: Final = "apns.alert"
#: As the log shortens it.
_HASH_CHARS: Final = 12


def _message(body: bytes, *, task: str = "no.such.task", content_type: str = "application/json") -> bytes:
    """Return a message as Celery puts it into Redis."""
    properties = {
        "delivery_tag": "t",
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
    }
    encoding = "utf-8" if content_type.endswith("json") else "binary"
    message = {
        "body": base64.b64encode(body).decode(),
        "content-type": content_type,
        "content-encoding": encoding,
        "headers": {"task": task, "id": "1"},
        "properties": properties,
    }
    return json.dumps(message).encode()


_NOTHING: Final = json.dumps([["x"], {}, {}]).encode()
_PICKLE: Final = pickle.dumps([["x"], {}, {}])
_LARGE: Final = json.dumps([["x" * 30_000_000], {}, {}]).encode()
_DEEP: Final = b"[" * 60_000 + b"]" * 60_000

#: What lies in the queue -> of what the log shows the hash: of all, or of the body if so much could be read.
MESSAGES: Final = {
    b"\x00\xff garbage": b"\x00\xff garbage",
    b'["a", 1]': b'["a", 1]',
    b"{}": b"{}",
    _DEEP: _DEEP,
    _message(_PICKLE, content_type="application/x-python-serialize"): _PICKLE,
    _message(_NOTHING): _NOTHING,
    _message(_LARGE): _LARGE,
}
#: What lies in the place of a record, made of the right one.
RECORDS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "garbage": lambda _stored: b"\x00\xff garbage",
    "unknown version": lambda stored: stored.partition(b" ")[0] + b' {"v":99}\n{}',
    "truncated": lambda stored: stored[: len(stored) // 2],
    "empty": lambda _stored: b"",
}


def _hostile_bytes(directory: Path) -> Findings:
    with Rig(directory, lanes=[]) as rig:
        spoilt = _spoil_records(rig)
        sender = rig.sender()
        for message in MESSAGES:
            rig.state.lpush(QUEUE, message)
            sender.alert()
        rig.start_worker(Lane.ALERT)
        steadily(rig, sender.alert, rate=40, seconds=2)
        found = settled(rig)
        assert poll(lambda: _counted(rig) >= len(MESSAGES), within_s=5), rig.describe()
        told = {line["sha256"] for line in rig.told("message_put_aside")}
        hashes = {sha256(body).hexdigest()[:_HASH_CHARS] for body in MESSAGES.values()}
        with DeadLetters(rig.settings) as letters:
            buried = {letter.apns_id for letter in letters.find(Wanted(app=redis_keys.UNREADABLE))}
        facts = {"put aside": _counted(rig), "dead letters": len(buried), "exits": len(rig.exits)}
        return found.with_facts(**facts).but(
            *unless(hashes <= told, f"{len(hashes - told)} hashes are missing in the log"),
            *unless(_counted(rig) == len(MESSAGES), f"{_counted(rig)} of {len(MESSAGES)} messages counted"),
            *unless(buried == spoilt, f"{len(buried & spoilt)} of {len(spoilt)} records are dead letters"),
        )


def _spoil_records(rig: Rig) -> set[str]:
    """Accept notifications and spoil what lies in the state server of them; return their apns ids."""
    receipts = [rig.push.alert(APP, device_token(number), title="Hello") for number in range(len(RECORDS))]
    for receipt, spoil in zip(receipts, RECORDS.values(), strict=True):
        (place,) = rig.state.keys(f"*:batch:{receipt.apns_id}")
        rig.state.set(place, spoil(rig.state.get(place)))
    return {receipt.apns_id for receipt in receipts}


def _counted(rig: Rig) -> int:
    fields: dict[bytes, Any] = rig.state.hgetall(redis_keys.counters(redis_keys.FLEET_SHARD))
    return sum(int(count) for field, count in fields.items() if field.startswith(b"garbage|"))


ROWS: Final = (
    Row(
        number="P2",
        fault=f"{len(MESSAGES)} messages that are none, one of 30 MB; {len(RECORDS)} records that are none",
        limit="lost 0, the worker lives, each is counted and in the log by its hash or among the dead letters",
        run=_hostile_bytes,
        is_quick=True,
        otherwise="stock Celery: garbage and a list end the worker, the others are printed whole",
    ),
)
