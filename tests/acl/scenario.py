"""Everything that a fleet does, done once, each part in its own role."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from dispatcher import Cancellation, Report, ids, redis_keys, routing, streams
from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token
from tests.acl import onlookers, takeover
from tests.acl.everybody import FEEDBACK_QUEUE, THIRD, THIRD_KEY, Everybody
from tests.running_fleet import APP

PAYLOAD: Final = {"aps": {"alert": "hi"}}
LATER_S: Final = 3600.0
#: Those that die, of both kinds.
DEAD: Final = 2


def steps() -> Iterator[Callable[[Everybody], None]]:
    """Yield what is done, in order; each needs what those before left."""
    yield start
    yield push_of_every_kind
    yield recover_from_a_wrong_key
    yield ask_and_cancel
    yield look_at_the_dead
    yield park_and_resume
    yield takeover.lose_messages
    yield takeover.lose_worker
    yield bury_the_dead
    yield survive_garbage
    yield hear_back
    yield hear_what_is_forged
    yield onlookers.look_on
    yield stop


def start(everybody: Everybody) -> None:
    """Start everybody, the workers with a wrong key and something to send with it."""
    everybody.ask_for_feedback_task()
    everybody.spoil_key()
    everybody.push.send_many(THIRD, everybody.new_devices(4), payload=PAYLOAD, push_type="alert")
    onlookers.take_and_give_back(everybody)
    everybody.start_shop()
    everybody.stack.start_workers()


def push_of_every_kind(everybody: Everybody) -> None:
    """Push in every lane: single, in bulk, twice, to devices that are gone, bad, slow, broken."""
    push = everybody.push
    for _ in range(2):
        push.alert(APP, device_token(1), title="hi", idempotency_key="one", track=True)
    push.alert(APP, special_device_token(Form.BAD, 2), title="hi")
    push.voip(APP, device_token(3), {"call": 1})
    push.voip(APP, special_device_token(Form.SERVICE_UNAVAILABLE, 4, 1), {"call": 2})
    bulk = [*everybody.new_devices(600), special_device_token(Form.UNREGISTERED, 5)]
    bulk.append(special_device_token(Form.TOO_MANY_REQUESTS, 6, 1))
    push.send_many(APP, bulk, payload=PAYLOAD, push_type="alert", report=Report.EVERYTHING)
    push.alert(APP, special_device_token(Form.INTERNAL_SERVER_ERROR, 7), title="it dies")
    push.background(APP, special_device_token(Form.INTERNAL_SERVER_ERROR, 8), {"dies": 1})
    wake = {"aps": {"content-available": 1}}
    push.send_many(APP, everybody.new_devices(20), payload=wake, push_type="background")
    for version in (2, 3, 1):
        push.background(APP, device_token(9), {"version": version}, version=version, hold_for=LATER_S, track=True)
    push.background(APP, device_token(10), {"late": 1}, send_at=_in(1.0), track=True, idempotency_key="two")
    push.alert(APP, device_token(11), title="later", send_at=_in(1.0))
    push.device_online(APP, device_token(9))
    push.device_online(APP, device_token(10), fetched=True)


def recover_from_a_wrong_key(everybody: Everybody) -> None:
    """Wait until Apple's refusal has stopped the app and was probed; mend the key, and all goes on."""
    fleet, scope, unprobed = everybody.fleet, f"*|*|{THIRD_KEY}", b'"probes":0'
    fleet.wait_for(lambda: unprobed not in (everybody.admin.hget(redis_keys.paused(), scope) or unprobed))
    everybody.mend_key()
    fleet.wait_until_settled()
    fleet.wait_for(lambda: not everybody.admin.exists(redis_keys.paused()))
    assert fleet.counters("dead_lettered") == DEAD


def ask_and_cancel(everybody: Everybody) -> None:
    """Ask where notifications are and cancel them, as the web app and as the operator."""
    push, fleet = everybody.push, everybody.fleet
    done = push.alert(APP, everybody.new_device(), title="hi", track=True)
    fleet.wait_for(lambda: (known := push.status(done.apns_id)) is not None and known.state == "ended")
    held_device = everybody.new_device()
    late = push.alert(APP, everybody.new_device(), title="never", send_at=_in(LATER_S), track=True)
    held = push.background(APP, held_device, {"never": 1}, hold_for=LATER_S, track=True)
    for receipt in (late, held):
        assert push.cancel(receipt.apns_id) is Cancellation.CANCELLED
        assert "cancelled" in everybody.command("status", receipt.apns_id)
    soon, device = str(_in(LATER_S)), everybody.new_device()
    late_id = everybody.sent_by_operator(everybody.new_device(), "--alert", "never", "--send-at", soon, "--track")
    everybody.sent_by_operator(device, "--background", "{}", "--send-at", soon)
    held_id = everybody.sent_by_operator(device, "--background", '{"never": 2}', "--send-at", soon, "--track")
    for apns_id in (late_id, held_id):
        everybody.command("status", apns_id)
        everybody.command("cancel", apns_id)
        known = push.status(apns_id)
        assert known is not None
        assert known.state == "ended"
    everybody.sent_by_operator(everybody.new_device(), "--voip", "{}")


def look_at_the_dead(everybody: Everybody) -> None:
    """Look through the dead letters and send all again; they die again."""
    assert f"{DEAD} dead letters" in everybody.command("dead", "list")
    everybody.command("dead", "show")
    assert f"{DEAD} replayed" in everybody.command("dead", "replay")
    everybody.command("health")


def bury_the_dead(everybody: Everybody) -> None:
    """Drop the dead letters that died again."""
    everybody.fleet.wait_for(lambda: everybody.fleet.counters("dead_lettered") == 2 * DEAD)
    assert "dropped" in everybody.command("dead", "drop", "--all")
    assert "no dead letters" in everybody.command("dead", "list")


def park_and_resume(everybody: Everybody) -> None:
    """Pause an app while pushes come in, change and cancel some of them, and let the rest go."""
    push, parked = everybody.push, _Parked(everybody)
    everybody.command("pause", "--app", APP)
    everybody.command("pauses")
    everybody.fleet.wait_for(parked.has_enough)
    one, other, *_ = parked.alerts()
    assert push.cancel(one) is Cancellation.CANCELLED
    everybody.command("cancel", other)
    updated, fetched, cancelled, *_ = parked.slots()
    push.background(APP, updated, {"parked": 2})
    push.device_online(APP, fetched, fetched=True)
    everybody.command("cancel", parked.sent[cancelled])
    everybody.command("resume", "--app", APP)
    everybody.fleet.wait_until_settled()


class _Parked:
    """What was pushed during a pause, until enough is parked: workers take a moment to hear of it."""

    def __init__(self, everybody: Everybody) -> None:
        self.sent: dict[str, str] = {}
        self._everybody = everybody
        self._alerts: list[str] = []

    def has_enough(self) -> bool:
        """Push more; tell whether there is enough of both kinds."""
        device, push = self._everybody.new_device(), self._everybody.push
        self._alerts.append(push.alert(APP, device, title="parked").apns_id)
        self.sent[device] = push.background(APP, device, {"parked": 1}).apns_id
        return len(self.alerts()) > 2 and len(self.slots()) > 3

    def alerts(self) -> list[str]:
        """Return the apns ids of parked alerts."""
        return [apns_id for apns_id in self._alerts if self._is_parked(apns_id)]

    def slots(self) -> list[str]:
        """Return the device tokens whose background notifications are parked."""
        return [device for device, apns_id in self.sent.items() if self._is_parked(apns_id)]

    def _is_parked(self, apns_id: str) -> bool:
        known = self._everybody.push.status(apns_id)
        return known is not None and known.state == "parked"


def survive_garbage(everybody: Everybody) -> None:
    """Put what is no message into every queue."""
    for queue in routing.QUEUE_LANES:
        everybody.admin.lpush(queue, b"garbage", json.dumps({"body": "", "headers": {}}))
    everybody.fleet.wait_for(lambda: everybody.fleet.counters("garbage") == 2 * len(routing.QUEUE_LANES))


def hear_back(everybody: Everybody) -> None:
    """Read feedback as the web app does, and in its own Celery worker, which passes over what is for other apps."""
    fleet = everybody.fleet
    ended = {record.apns_id for record in fleet.feedback("crm") if record.app == APP}
    assert ended
    fleet.wait_for(lambda: ended <= everybody.heard() and _is_passed_over(everybody.admin))
    fleet.wait_for(lambda: not everybody.admin.exists(FEEDBACK_QUEUE, "unacked"))
    devices = everybody.new_devices(3)
    everybody.push.send_many(THIRD, devices, payload=PAYLOAD, push_type="alert", report=Report.EVERYTHING)
    fleet.wait_until_settled()
    fleet.wait_for(lambda: _is_passed_over(everybody.admin))


def hear_what_is_forged(everybody: Everybody) -> None:
    """Add feedback that no worker wrote: the web app and its Celery worker put it aside."""
    everybody.fleet.feedback("crm")
    everybody.admin.xadd(redis_keys.feedback(0), {"app": APP, "outcome": "delivered"})
    assert everybody.fleet.feedback("crm") == []
    everybody.fleet.wait_for(lambda: everybody.fleet.counters("feedback_unreadable") == 2)


def _is_passed_over(admin: Any) -> bool:
    """Tell whether nothing is left for the feedback task, what is for other apps included."""
    group = streams.task_group(APP).encode()
    for stream in filter(admin.exists, map(redis_keys.feedback, range(ids.SHARDS))):
        read = {each["name"]: each["last-delivered-id"] for each in admin.xinfo_groups(stream)}
        if read.get(group) != admin.xinfo_stream(stream)["last-generated-id"]:
            return False
    return True


def stop(everybody: Everybody) -> None:
    """Let workers and Flower end in order."""
    everybody.stack.stop_workers()


def _in(seconds: float) -> float:
    return time.time() + seconds
