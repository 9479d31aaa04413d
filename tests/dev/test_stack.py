"""A stack of real processes: ready when it says so, revived, and gone when it is stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from dispatcher import Dispatcher, Lane, Settings
from dispatcher.dev.children import Child, ChildError
from dispatcher.dev.flower import is_healthy
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack
from dispatcher.dev.users import Role

if TYPE_CHECKING:
    from tests.conftest import Eventually, StartStack


def test_carries_a_notification_to_the_simulator(start_stack: StartStack, eventually: Eventually) -> None:
    """What is sent with its environment arrives; Flower serves its pages; nothing runs after the stop."""
    stack = start_stack(lanes=[Lane.ALERT], flower=True)
    with Dispatcher(Settings.from_env(stack.env)) as push:
        receipt = push.alert("com.example.app", device_token(1), title="Hello")
    eventually(lambda: stack.simulator_requests.exists() and receipt.apns_id in stack.simulator_requests.read_text())
    assert is_healthy(int(stack.flower_url.rpartition(":")[2]))
    children = stack.children
    assert [child.name for child in children] == ["valkey", "simulator", "alert-1", "flower"]
    stack.stop()
    assert [child.exit_code for child in children] == [0, 0, 0, 0]


def test_only_who_reads_records_gets_their_keys(start_stack: StartStack) -> None:
    """Web apps, workers and people have the same keys; Flower and the exporter of figures have none."""
    stack = start_stack(lanes=[])
    keys = {role: Settings.from_env(stack.env_of(role)).record_keys.listed for role in Role}
    without = {role for role, listed in keys.items() if listed == (None,)}
    assert without == {Role.FLOWER, Role.EXPORTER}
    assert len({listed for role, listed in keys.items() if role not in without}) == 1


def test_gives_every_lane_its_number_of_workers(start_stack: StartStack) -> None:
    """Two workers per lane are two processes with names of their own; one more can be added."""
    stack = start_stack(lanes=[Lane.VOIP], workers_per_lane=2)
    added = stack.start_worker(Lane.VOIP)
    assert [child.name for child in stack.children][2:] == ["voip-1", "voip-2", "voip-3"]
    assert added.is_running


def test_starts_again_what_has_died(start_stack: StartStack, eventually: Eventually) -> None:
    """A killed worker is replaced by another; a killed server is beyond help."""
    stack = start_stack(lanes=[Lane.BACKGROUND])
    worker = stack.children[-1]
    worker.kill()
    assert stack.revive() == ["background-1"]
    assert stack.children[-1].name == "background-2"
    assert stack.revive() == []
    stack.server.child.send_signal(signal.SIGKILL)
    eventually(lambda: not stack.server.child.is_running)
    with pytest.raises(ChildError, match="valkey ended with exit code -9"):
        stack.revive()


def test_program_that_does_not_start_is_named_with_its_log(tmp_path: Path) -> None:
    """A worker that ends at once is an error with the end of its output, and everything else is stopped."""
    stack = Stack(tmp_path, lanes=[Lane.ALERT])
    stack.start_servers()
    children = stack.children
    stack.config.write_text("this is no TOML", encoding="utf-8")
    with pytest.raises(ChildError) as caught:
        stack.start_workers()
    assert caught.value.name == "alert-1"
    assert caught.value.log == tmp_path / "alert-1.log"
    assert str(stack.config) in str(caught.value)
    assert not any(child.is_running for child in children)


def test_flower_misses_nothing_once_the_stack_has_started(
    start_stack: StartStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower listens to events once the stack is said to be ready, however early it serves its pages."""
    monkeypatch.setattr("dispatcher.dev.stack.is_healthy", lambda _port: True)
    stack = start_stack(lanes=[Lane.ALERT], flower=True)
    with redis.Redis.from_url(stack.server.url) as client:
        for_events, for_commands = 1, 1
        assert client.pubsub_numpat() == for_events + for_commands


def test_shortened_times_are_written_to_the_configuration(tmp_path: Path) -> None:
    """A stack can shorten retries and the distance of background updates, anew with every start."""
    for retry_scale, spacing_s in ((0.0001, 2.5), (0.0002, 1.5)):
        stack = Stack(tmp_path, retry_scale=retry_scale, background_spacing_s=spacing_s)
        stack.start_servers()
        try:
            settings = Settings.from_env(stack.env)
            assert settings.retry_scale == retry_scale
            assert {app.background_spacing_s for app in settings.apps.values()} == {spacing_s}
        finally:
            stack.stop()


def test_answers_are_held_back_while_the_file_exists(start_stack: StartStack, eventually: Eventually) -> None:
    """With the hold file a push is received but not answered, until the file is removed."""
    stack = start_stack(lanes=[Lane.ALERT])
    stack.hold_file.touch()
    with Dispatcher(Settings.from_env(stack.env)) as push:
        push.send_many("com.example.app", [device_token(1)], payload={"aps": {"alert": "hi"}}, push_type="alert")
        eventually(lambda: stack.simulator_requests.exists() and stack.simulator_requests.read_text())
        with redis.Redis.from_url(stack.server.url) as client:
            assert next(client.scan_iter("apns:*:batch:*"))
            stack.hold_file.unlink()
            eventually(lambda: not list(client.scan_iter("apns:*:batch:*")))


def test_stubborn_process_is_killed(start_stack: StartStack) -> None:
    """A process that is stopped by a debugger or hangs does not keep the stack from stopping."""
    stack = start_stack(lanes=[])
    simulator: Child = stack.children[1]
    simulator.send_signal(signal.SIGSTOP)
    stack.stop()
    assert not simulator.is_running
