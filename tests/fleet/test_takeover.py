"""Whatever a worker leaves behind, another one takes up, with no help from anybody."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

from dispatcher import Lane, Outcome, ids, redis_keys
from dispatcher.dev.simulator.device_tokens import Form, special_device_token
from workers.lease import LANE_TIMES

APP = "com.example.app"
ALERT = {"aps": {"alert": "hi"}}
Devices = Callable[[int], list[str]]


def test_killed_worker_with_500_in_flight(fleet: Any, devices: Devices) -> None:
    """After kill -9 with 500 pushes in flight all 500 arrive by another worker, under the same apns ids."""
    worker = fleet.stack.start_worker(Lane.ALERT)
    fleet.warm_up("alert", 1500)
    fleet.hold_answers()
    (batch,) = fleet.push.send_many(APP, devices(500), payload=ALERT, push_type="alert").batches
    fleet.wait_for_requests(500)
    worker.kill()
    fleet.release_answers()
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled(within_s=60)
    seen = fleet.seen()
    assert set(seen) == {f"{batch.batch_id[:-4]}{n:04x}" for n in range(500)}
    assert set(seen.values()) == {2}, "once before the kill, once by the other worker"
    assert fleet.counters("delivered") == 500


def test_killed_worker_restarted_alone(fleet: Any, devices: Devices) -> None:
    """Calls in flight in a killed worker arrive once it is restarted."""
    worker = fleet.stack.start_worker(Lane.VOIP)
    fleet.warm_up("voip", 100)
    fleet.hold_answers()
    receipts = [fleet.push.voip(APP, each, {"call": "8e21"}, expires_in=120) for each in devices(40)]
    fleet.wait_for_requests(40)
    worker.kill()
    fleet.release_answers()
    fleet.stack.start_worker(Lane.VOIP)
    fleet.wait_until_settled()
    assert fleet.counters("delivered") == 40
    assert set(fleet.seen()) == {receipt.apns_id for receipt in receipts}


def test_stalled_worker_sends_nothing_over_a_new_claim(fleet: Any, devices: Devices) -> None:
    """A worker stopped past its lease and continued neither sends nor writes over what another one did."""
    stalled = fleet.stack.start_worker(Lane.VOIP)
    fleet.warm_up("voip", 100)
    fleet.hold_answers()
    for device_token in devices(20):
        fleet.push.voip(APP, device_token, {"call": "8e21"}, expires_in=300)
    fleet.wait_for_requests(20)
    stalled.send_signal(signal.SIGSTOP)
    other = fleet.stack.start_worker(Lane.VOIP)
    fleet.wait_for_requests(20)
    fleet.release_answers()
    fleet.wait_for(lambda: set(fleet.seen().values()) == {2})
    fleet.wait_until_settled()
    stalled.send_signal(signal.SIGCONT)
    assert fleet.counters("delivered") == 20, "each is counted once, by the owner of the claim"
    fleet.wait_for(lambda: any("claim_lost" in line for line in stalled.last_lines(200)))
    assert set(fleet.seen().values()) == {2}, "once by each worker, and no more after the stalled one went on"
    assert other.is_running


def test_deleted_batch_message_is_found(fleet: Any, devices: Devices) -> None:
    """A batch whose message vanished from the queue is found by a marker and sent."""
    (device_token,) = devices(1)
    receipt = fleet.push.alert(APP, device_token, title="Hello")
    assert fleet.state.delete("apns.alert") == 1
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled()
    assert fleet.seen() == {receipt.apns_id: 1}


def test_deleted_wake_up_is_found(fleet: Any, devices: Devices) -> None:
    """A slot whose wake-up vanished from the queue is found by a marker and sent."""
    (device_token,) = devices(1)
    receipt = fleet.push.background(APP, device_token, {"sync": "inbox"})
    assert fleet.state.delete("apns.background") == 1
    fleet.stack.start_worker(Lane.BACKGROUND)
    fleet.wait_until_settled()
    assert fleet.seen() == {receipt.apns_id: 1}


def test_backlog_is_not_published_again(fleet: Any, devices: Devices) -> None:
    """What waits in a long queue is not lost: while it waits no message is added for it, but for markers."""
    for device_token in devices(300):
        fleet.push.alert(APP, device_token, title="Hello")
    fleet.hold_answers()
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_for_requests(1)
    fleet.wait_for(lambda: fleet.state.exists("apns:{00}:marker:apns.alert") == 1)
    assert fleet.state.llen("apns.alert") <= 280 + 1, "twenty are in the worker's hands, one marker is in the queue"
    fleet.release_answers()
    fleet.wait_until_settled()
    assert set(fleet.seen().values()) == {1}


def test_terminated_worker_finishes_or_gives_back(fleet: Any, devices: Devices) -> None:
    """SIGTERM ends a worker within 10 s though answers do not come; another one sends what it gave back."""
    worker = fleet.stack.start_worker(Lane.ALERT)
    fleet.warm_up("alert", 300)
    fleet.hold_answers()
    fleet.push.send_many(APP, devices(100), payload=ALERT, push_type="alert")
    fleet.wait_for_requests(100)
    worker.send_signal(signal.SIGTERM)
    fleet.wait_for(lambda: not worker.is_running, within_s=10.0)
    assert worker.exit_code == 0
    fleet.release_answers()
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled()
    assert fleet.counters("delivered") == 100


def test_terminated_worker_answers_what_is_in_flight(fleet: Any, devices: Devices) -> None:
    """SIGTERM with answers on their way: all are noted, nothing is sent twice."""
    worker = fleet.stack.start_worker(Lane.ALERT)
    fleet.warm_up("alert", 600)
    fleet.hold_answers()
    fleet.push.send_many(APP, devices(200), payload=ALERT, push_type="alert")
    fleet.wait_for_requests(200)
    worker.send_signal(signal.SIGTERM)
    fleet.release_answers()
    fleet.wait_for(lambda: not worker.is_running, within_s=10.0)
    assert worker.exit_code == 0
    assert fleet.unsettled() == []
    assert set(fleet.seen().values()) == {1}


def test_what_kills_its_workers_is_put_aside(fleet: Any, devices: Devices) -> None:
    """A notification of which three workers died is a dead letter; the others of its batch are delivered."""
    poison = special_device_token(Form.SILENT, 1)
    before, after = devices(20)[:10], devices(20)[10:]
    payload = {"aps": {"alert": "hi"}}
    fleet.push.send_many(APP, [*before, poison, *after], payload=payload, push_type="alert")
    for deaths in range(3):
        worker = fleet.stack.start_worker(Lane.ALERT)
        fleet.wait_for(lambda sent=deaths: tries(fleet)[poison] > sent)
        worker.kill()
        for shard in range(ids.SHARDS):
            fleet.state.incrbyfloat(redis_keys.clock(shard), LANE_TIMES[Lane.ALERT].lease_s + 1)
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled()
    assert [(record.device_token, record.outcome) for record in fleet.feedback()] == [(poison, Outcome.DEAD_LETTERED)]
    assert fleet.counters("delivered") == 20
    assert tries(fleet)[poison] == 3
    assert set(tries(fleet)) == {*before, poison, *after}
    assert max(tries(fleet)[each] for each in (*before, *after)) <= 2, "once more at most, after the first death"


def tries(fleet: Any) -> Counter[str]:
    """Return how often the simulator has seen each device token."""
    return Counter(request["device_token"] for request in fleet.requests())
