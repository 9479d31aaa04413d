"""One look at Flower shows the fleet, and neither it nor anything else shows what is being sent."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from dispatcher import Lane
from dispatcher.dev import programs
from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token

APP = "com.example.app"
SECRET_TEXT = "canary-text-5b1e"  # noqa: S105  planted to be searched for
SECRET_DEVICE = device_token(777)
BAD_DEVICE = special_device_token(Form.BAD, 778)
BUSY_DEVICE = special_device_token(Form.TOO_MANY_REQUESTS, 779, 1)
GONE_DEVICE = special_device_token(Form.UNREGISTERED, 780)
#: Every JWT begins like this: {"alg":"ES256" in base64.
PROVIDER_TOKEN = "eyJhbGciOiJFUzI1Ni"  # noqa: S105  the part that is the same for all
CANARIES = (SECRET_TEXT, SECRET_DEVICE, BAD_DEVICE, BUSY_DEVICE, GONE_DEVICE, PROVIDER_TOKEN)
PAGES = (
    "/",
    "/workers",
    "/tasks",
    "/broker",
    "/metrics",
    "/api/workers?refresh=1&status=1",
    "/api/workers",
    "/api/tasks",
    "/api/queues/length",
    "/api/task/types",
)


def get(watched: Any, path: str) -> str:
    """Return a page of Flower's."""
    with urlopen(f"{watched.stack.flower_url}{path}", timeout=10) as answer:  # noqa: S310  our own address
        page: bytes = answer.read()
    return page.decode(errors="replace")


def tasks(watched: Any) -> dict[str, dict[str, Any]]:
    """Return what Flower knows of every task, by id."""
    known: dict[str, dict[str, Any]] = json.loads(get(watched, "/api/tasks?limit=1000"))
    return known


def inspected_workers(watched: Any) -> list[str]:
    """Return the names of the workers that Flower has looked into."""
    return [name for name, known in json.loads(get(watched, "/api/workers?refresh=1")).items() if "stats" in known]


def results(watched: Any) -> set[tuple[str, str]]:
    """Return the names and results of finished tasks."""
    return {(task["name"], task["result"].strip("'")) for task in tasks(watched).values() if task["state"] == "SUCCESS"}


def test_tasks_by_push_type_with_readable_results(watched: Any) -> None:
    """Flower lists one task per batch under its lane's name, with a short result in words."""
    devices = [device_token(each) for each in range(498)]
    payload = {"aps": {"alert": SECRET_TEXT}}
    watched.push.send_many(APP, [*devices, GONE_DEVICE, BUSY_DEVICE], payload=payload, push_type="alert")
    watched.push.voip(APP, SECRET_DEVICE, {"call": SECRET_TEXT})
    watched.push.background(APP, SECRET_DEVICE, {"sync": SECRET_TEXT})
    watched.push.alert(APP, BAD_DEVICE, title=SECRET_TEXT)
    expected = {
        ("apns.alert", "sent 498, unregistered 1, retry 1"),
        ("apns.alert", "sent 1"),
        ("apns.alert", "refused 1"),
        ("apns.voip", "sent 1"),
        ("apns.background", "sent 1"),
    }
    watched.wait_for(lambda: expected <= results(watched))
    assert f"({APP} 500)" in {task["args"] for task in tasks(watched).values()}


def test_no_secret_on_any_page(watched: Any) -> None:
    """No page and no answer of Flower's API holds a payload, a device token or a provider token."""
    watched.push.alert(APP, SECRET_DEVICE, title=SECRET_TEXT)
    watched.wait_for(lambda: len(results(watched)) > 0)
    watched.wait_for(lambda: len(inspected_workers(watched)) == 3)
    workers = inspected_workers(watched)
    paths = [*PAGES, *(f"/worker/{name}" for name in workers)]
    for task_id in tasks(watched):
        paths += [f"/task/{task_id}", f"/api/task/info/{task_id}"]
    for path in paths:
        page = get(watched, path)
        assert page, path
        assert not [canary for canary in CANARIES if canary in page], path


def test_no_secret_in_inspect(watched: Any) -> None:
    """`celery inspect active` and `reserved` show tasks in flight by batch id only."""
    watched.hold_answers()
    try:
        receipts = [watched.push.alert(APP, SECRET_DEVICE, title=SECRET_TEXT) for _ in range(30)]
        watched.wait_for(lambda: receipts[0].apns_id in inspect(watched, "active"))
        shown = inspect(watched, "active") + inspect(watched, "reserved")
    finally:
        watched.release_answers()
    assert receipts[0].apns_id in shown
    assert not [canary for canary in CANARIES if canary in shown]


def inspect(watched: Any, what: str) -> str:
    """Return what `celery inspect` prints."""
    worker = programs.worker(Lane.ALERT, 1)
    command = [*worker[: worker.index("worker")], "inspect", what, "--json", "--timeout", "5"]
    done = subprocess.run(
        command, env=programs.environment(watched.stack.env), capture_output=True, text=True, check=False
    )
    return done.stdout


def test_no_secret_in_messages(fleet: Any) -> None:
    """A Celery message holds a batch id and a harmless summary."""
    fleet.push.alert(APP, SECRET_DEVICE, title=SECRET_TEXT)
    fleet.push.voip(APP, SECRET_DEVICE, {"call": SECRET_TEXT})
    fleet.push.background(APP, SECRET_DEVICE, {"sync": SECRET_TEXT})
    fleet.push.send_many(APP, [SECRET_DEVICE], payload={"aps": {"alert": SECRET_TEXT}}, push_type="alert")
    queues = ("apns.voip", "apns.alert", "apns.alert.bulk", "apns.background")
    messages = [message for queue in queues for message in fleet.state.lrange(queue, 0, -1)]
    assert len(messages) == 4
    for message in messages:
        body = base64.b64decode(json.loads(message)["body"]).decode()
        assert not [canary for canary in CANARIES if canary in message.decode() + body]


def test_no_secret_in_logs(watched: Any) -> None:
    """No log of any process holds a payload, a device token or a provider token, even with every event logged."""
    watched.push.alert(APP, BAD_DEVICE, title=SECRET_TEXT)
    watched.wait_for(lambda: ("apns.alert", "refused 1") in results(watched))
    logs = [path for path in Path(watched.stack.directory).glob("*.log") if path.stat().st_size]
    assert len(logs) >= 4
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert not [canary for canary in CANARIES if canary in text], log.name
