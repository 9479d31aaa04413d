"""The demo as a person runs it: it accounts for everything, and leaves nothing behind however it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dispatcher.dev.demo import plan
from dispatcher.feedback import Outcome
from dispatcher.push_types import PUSH_TYPES

if TYPE_CHECKING:
    from tests.conftest import Eventually
    from tests.dev.conftest import StartProgram

COMMAND = ("-m", "dispatcher.cli")


def test_accounts_for_everything(start_program: StartProgram, living: Callable[[], list[str]], tmp_path: Path) -> None:
    """It ends with exit code 0, a table and no escape sequences; no process and no file is left."""
    demo = start_program(*COMMAND, "demo")
    shown, _ = demo.communicate(timeout=110)
    assert demo.returncode == 0, shown
    assert f"All {plan.size():,} notifications are accounted for" in shown
    assert "\x1b" not in shown
    rows = {line.split("│")[1].strip(): line.split("│")[2:5] for line in shown.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in rows["dead letters replayed"]] == ["-", "2", "2"]
    assert float(rows["collapse ratio"][2].split(":")[0]) > 1
    assert rows["expired"][0].strip() == str(plan.LATE_CALLS)
    assert "held until due" in rows
    assert all(f"refused: {reason}" in shown for reason in ("BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered"))
    assert living() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("moment", ["starting Valkey", "starting a worker", "s: "])
def test_interrupted_leaves_no_process(
    start_program: StartProgram,
    living: Callable[[], list[str]],
    eventually: Eventually,
    *,
    moment: str,
    number: signal.Signals,
    exit_code: int,
) -> None:
    """Whatever the signal and whenever it comes, everything that was started ends."""
    demo = start_program(*COMMAND, "demo")
    assert demo.stdout is not None
    assert any(moment in line for line in demo.stdout)
    demo.send_signal(number)
    shown = demo.stdout.read() if number is not signal.SIGKILL else ""
    assert demo.wait(timeout=20) == exit_code, shown
    assert "Traceback" not in shown
    eventually(lambda: not living(), within_s=2.0)


def test_dev_shows_where_everything_is(
    start_program: StartProgram, living: Callable[[], list[str]], eventually: Eventually, tmp_path: Path
) -> None:
    """`dev` prints addresses and a line to try, starts a dead worker again, and Ctrl-C is its ordinary end."""
    dev = start_program(*COMMAND, "dev", "--dir", str(tmp_path / "kept"))
    assert dev.stdout is not None
    welcome = list(iter(dev.stdout.readline, "Ctrl-C stops everything.\n"))
    text = "".join(welcome)
    assert all(word in text for word in ("Flower         http://127.0.0.1:", "simulator      https://127.0.0.1:"))
    assert "  apns-dispatcher send com.example.app " in text
    assert f"  export APNS_CONFIG={tmp_path / 'kept' / 'apns' / 'apns.toml'}\n" in welcome
    dev.send_signal(signal.SIGINT)
    assert dev.stdout.read().endswith("everything is stopped\n")
    assert dev.wait(timeout=20) == 0
    eventually(lambda: not living(), within_s=2.0)


def test_plan_is_what_was_promised() -> None:
    """2,000 alerts, half of them in bulk, 1,000 background updates to 200 devices, 100 calls, and each bad kind."""
    calls = list(plan.calls())
    good = [call for call in calls if not call.device_tokens[0].startswith("ffff")]
    by_type = {name: [call for call in good if call.push_type == name] for name in ("alert", "background", "voip")}
    assert [len(call.device_tokens) for call in by_type["alert"] if call.is_bulk] == [1000]
    assert len([call for call in by_type["alert"] if not call.is_bulk]) == 1000
    assert len(by_type["background"]) == 1000
    assert len({call.device_tokens for call in by_type["background"]}) == 200
    assert len(by_type["voip"]) == 100
    everything = [*plan.late_calls(), *calls]
    assert sum(len(call.device_tokens) for call in everything) == plan.size()
    assert {outcome for call in everything for outcome in call.outcomes} == set(Outcome) - {Outcome.CANCELLED}
    assert {call.push_type for call in everything} <= set(PUSH_TYPES)
