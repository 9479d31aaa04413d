"""What a web app's call leaves in the state server and on the queue, and what its receipt says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from base64 import b64decode
from collections import Counter
from typing import Any, Final
from uuid import uuid4

import pytest
import redis

from dispatcher import Dispatcher, Notification, NotificationError, ids, outbox, record, redis_keys, routing, slots
from dispatcher.claimed import ClaimState
from dispatcher.notes import Notes
from dispatcher.push_types import Environment, Lane
from dispatcher.record import Record
from dispatcher.scripts import Clock
from dispatcher.sealing import batch_place
from dispatcher.state_server import StateServer
from tests.record_sealing import SEALED

APP: Final = "com.example.app"
DEVICE_TOKEN: Final = "ab" * 32


def messages(state: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """Return the messages on a queue, oldest first; the arguments are in `args`."""
    found = []
    for raw in reversed(state.lrange(queue, 0, -1)):
        message = json.loads(raw)
        args, _, _ = json.loads(b64decode(message["body"]))
        found.append({**message["headers"], "args": args, "raw": raw})
    return found


def stored_record(state: redis.Redis, batch_id: str) -> Record:
    """Return an accepted batch."""
    stored: Any = state.get(redis_keys.batch(ids.shard_of(batch_id), batch_id))
    return record.decode(stored.partition(b" ")[2], batch_place(batch_id), SEALED)


def counted(state: redis.Redis, event: str) -> int:
    """Return a counter, over all shards."""
    total = 0
    for shard in range(ids.SHARDS):
        counters: Any = state.hgetall(redis_keys.counters(shard))
        total += sum(int(count) for field, count in counters.items() if field.decode().startswith(f"{event}|"))
    return total


def test_an_alert_is_stored_and_queued(push: Dispatcher, state: redis.Redis) -> None:
    """An alert is one record with the bytes to send, and one message that holds its id and nothing secret."""
    receipt = push.alert(
        APP, DEVICE_TOKEN.upper(), title="Hello", subtitle="again", body="World", badge=1, sound="ping", data={"n": 7}
    )
    assert (receipt.lane, receipt.queued, receipt.replaced, receipt.repeated) == (Lane.ALERT, True, False, False)
    accepted = stored_record(state, receipt.apns_id)
    assert (accepted.app, accepted.push_type, accepted.device_tokens) == (APP, "alert", (DEVICE_TOKEN,))
    assert json.loads(accepted.payload) == {
        "aps": {
            "alert": {"title": "Hello", "subtitle": "again", "body": "World"},
            "badge": 1,
            "sound": "ping",
        },
        "n": 7,
    }
    (message,) = messages(state, "apns.alert")
    assert (message["task"], message["args"]) == ("apns.alert", [receipt.apns_id])
    assert (message["argsrepr"], message["kwargsrepr"]) == (f"({APP} 1)", "{}")
    assert DEVICE_TOKEN.encode() not in message["raw"]


def test_a_call_rings_for_a_while(push: Dispatcher, state: redis.Redis) -> None:
    """A call goes to its own lane, is not stored by Apple, and is tried for as long as asked."""
    receipt = push.voip(APP, DEVICE_TOKEN, {"call": "8e21"}, expires_in=12)
    accepted = stored_record(state, receipt.apns_id)
    assert (receipt.lane, accepted.expiration, accepted.expires_in) == (Lane.VOIP, 0, 12.0)
    assert [message["args"] for message in messages(state, "apns.voip")] == [[receipt.apns_id]]


def test_an_update_replaces_the_waiting_one(push: Dispatcher, state: redis.Redis) -> None:
    """Updates of one device share a slot: the second says that it replaced the first, and needs no other wake-up."""
    first = push.background(APP, DEVICE_TOKEN, {"sync": "inbox"})
    second = push.background(APP, DEVICE_TOKEN, {"sync": "outbox"})
    assert (first.replaced, second.replaced) == (False, True)
    assert (first.queued, second.queued) == (True, True)
    (message,) = messages(state, "apns.background")
    assert message["args"] == [routing.wake_up_id(APP, ids.shard_of(second.apns_id))]
    assert counted(state, "accepted") == 2


def test_other_types_collapse_when_asked(push: Dispatcher, state: redis.Redis) -> None:
    """A widget push is sent each time, unless the caller asks for the newest only."""
    asked: dict[str, Any] = {
        "app": APP, "push_type": "widgets", "device_token": DEVICE_TOKEN, "payload": {"aps": {"content-changed": True}}
    }  # fmt: skip
    batches = {push.send(Notification(**asked)).apns_id for _ in range(2)}
    in_slot = [push.send(Notification(**asked, collapse=True)) for _ in range(2)]
    assert [receipt.replaced for receipt in in_slot] == [False, True]
    assert batches < {message["args"][0] for message in messages(state, "apns.background")}


@pytest.mark.parametrize("push_type", ["alert", "background"])
def test_an_own_id_is_accepted_once(push: Dispatcher, state: redis.Redis, push_type: str) -> None:
    """The same apns id with the same content is a repetition; with other content it is refused."""
    own_id = str(uuid4())
    send = getattr(push, push_type)
    first, again = (send(APP, DEVICE_TOKEN, **asked(push_type, "one"), apns_id=own_id) for _ in range(2))
    assert (first.apns_id, first.repeated) == (own_id, False)
    assert (again.apns_id, again.repeated) == (own_id, True)
    with pytest.raises(NotificationError) as caught:
        send(APP, DEVICE_TOKEN, **asked(push_type, "two"), apns_id=own_id)
    assert caught.value.field == "apns_id"
    assert counted(state, "accepted") == 1


def asked(push_type: str, text: str) -> dict[str, Any]:
    """Return arguments that make a valid notification of a short form."""
    return {"title": text} if push_type == "alert" else {"data": {"sync": text}}


def test_an_own_id_stays_known_after_it_was_delivered(push: Dispatcher, state_url: str) -> None:
    """Sending again with the apns id of a notification that has ended adds nothing."""
    server = StateServer(state_url, clock=Clock.SHIFTED, timeout_s=4.0)
    apns_id = push.alert(APP, DEVICE_TOKEN, title="hi").apns_id
    server.run(outbox.claim(apns_id, "one", lane=Lane.ALERT, queue="apns.alert", lease_s=30))
    server.run(outbox.settle(apns_id, "one", Notes(ended=[0]), app=APP, lane=Lane.ALERT, size=1))
    server.close()
    assert push.alert(APP, DEVICE_TOKEN, title="hi", apns_id=apns_id).repeated


def test_environment_of_the_app_unless_told_otherwise(push: Dispatcher, state: redis.Redis) -> None:
    """A notification belongs to its app's environment, or to the one it names."""
    receipts = [push.alert(APP, DEVICE_TOKEN, title="hi", environment=each) for each in (None, Environment.SANDBOX)]
    environments = [stored_record(state, receipt.apns_id).environment for receipt in receipts]
    assert environments == [Environment.PRODUCTION, Environment.SANDBOX]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"app": "com.example.nobody", "title": "hi"}, "app"),
        ({"device_token": "../../x", "title": "hi"}, "device_token"),
        ({}, "payload.aps"),
        ({"title": "hi", "data": {"aps": {}}}, "data"),
        ({"title": "hi", "apns_id": "7"}, "apns_id"),
        ({"title": "hi", "collapse": True}, "collapse"),
    ],
)
def test_a_refused_call_stores_nothing(
    push: Dispatcher, state: redis.Redis, arguments: dict[str, Any], field: str
) -> None:
    """A notification that breaks a rule is refused by name, and nothing of it is stored."""
    with pytest.raises(NotificationError) as caught:
        push.alert(**{"app": APP, "device_token": DEVICE_TOKEN, **arguments})
    assert caught.value.field == field
    assert state.dbsize() == 0


def test_threads_share_a_dispatcher(push: Dispatcher, state: redis.Redis) -> None:
    """Eight threads that send at once through one dispatcher lose nothing and mix nothing up."""
    receipts: list[Any] = []

    def send(number: int) -> None:
        for each in range(25):
            receipts.append(push.alert(APP, f"{number:02x}{each:02x}", title="hi"))
            receipts.append(push.background(APP, f"{number:02x}{each:02x}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({receipt.apns_id for receipt in receipts}) == 8 * 50
    assert all(receipt.queued for receipt in receipts)
    alerts = [receipt.apns_id for receipt in receipts if receipt.lane is Lane.ALERT]
    assert Counter(message["args"][0] for message in messages(state, "apns.alert")) == Counter(alerts)
    devices = {stored_record(state, apns_id).device_tokens[0] for apns_id in alerts}
    assert len(devices) == 8 * 25
    assert counted(state, "accepted") == 8 * 50


FORKING: Final = """
import os, sys
from dispatcher import Dispatcher
push = Dispatcher.from_env()
def send():
    alert, update = push.alert("com.example.app", "ab", title="hi"), push.background("com.example.app", "ab")
    os.write(1, f"{alert.apns_id} {alert.queued and update.queued}\\n".encode())  # whole lines, whoever writes
send()
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        send()
        os._exit(0)
    children.append(child)
send()
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_a_dispatcher_survives_a_fork(env: dict[str, str], state: redis.Redis) -> None:
    """Processes forked after the first call send on, each over connections of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKING], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert len(lines) == 5
    assert {queued for _, queued in lines} == {"True"}
    assert Counter(message["args"][0] for message in messages(state, "apns.alert")) == Counter(
        apns_id for apns_id, _ in lines
    )
    assert counted(state, "accepted") == 10


def test_what_was_accepted_can_be_claimed(push: Dispatcher, state_url: str) -> None:
    """Producer and worker agree on keys: what one accepts the other finds."""
    server = StateServer(state_url, clock=Clock.SHIFTED, timeout_s=4.0)
    apns_id = push.voip(APP, DEVICE_TOKEN, {"call": "1"}).apns_id
    claimed = server.run(outbox.claim(apns_id, "one", lane=Lane.VOIP, queue="apns.voip", lease_s=7))
    assert (claimed.state, claimed.is_suspect) == (ClaimState.CLAIMED, False)
    shard = ids.shard_of(push.background(APP, DEVICE_TOKEN).apns_id)
    assert len(server.run(slots.claim(APP, shard, "one", lease_s=30, most=9)).slots) == 1
    server.close()


def test_a_dispatcher_closes_with_its_block(push: Dispatcher) -> None:
    """Leaving the block closes every connection; the next call opens new ones."""
    with push as same:
        assert same is push
        assert same.alert(APP, DEVICE_TOKEN, title="hi").queued
    assert push.alert(APP, DEVICE_TOKEN, title="hi").queued
