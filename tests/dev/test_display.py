"""What the demo shows: lines or bars, a table, and what is missing."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from dispatcher.dev.demo import ledger, table
from dispatcher.dev.demo.ledger import Sent
from dispatcher.dev.demo.progress import displayed
from dispatcher.dev.demo.sources import RequestFollower
from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane


def make_console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    """Return a console and what it writes to."""
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=80), written


def test_progress_is_plain_lines_outside_a_terminal() -> None:
    """The first and the last state are lines without escape sequences; what lies between comes now and then."""
    console, written = make_console(terminal=False)
    with displayed(console, 1000) as display:
        for number in range(1001):
            display.update(number, number, number)
    lines = written.getvalue().splitlines()
    assert "\x1b" not in written.getvalue()
    assert "0 enqueued, 0 received by APNs, 0 ended of 1,000" in lines[0]
    assert "1,000 enqueued, 1,000 received by APNs, 1,000 ended of 1,000" in lines[-1]
    assert len(lines) < 10


def test_progress_is_bars_in_a_terminal() -> None:
    """Each stage has a bar that ends full."""
    console, written = make_console(terminal=True)
    with displayed(console, 7) as display:
        display.update(7, 7, 7)
    assert written.getvalue().count("7/7") >= 3


def test_what_is_missing_is_listed_up_to_a_limit() -> None:
    """Of many faults the first are shown whole, the rest counted."""
    either = frozenset({Outcome.DELIVERED})
    sent = [
        Sent(apns_id=f"id {number}", lane=Lane.VOIP, device_token="ab" * 32, at=0.0, outcomes=either)
        for number in range(25)
    ]
    console, written = make_console(terminal=False)
    table.show(ledger.balance(sent, [], [], refused_at_call={}), console)
    shown = written.getvalue()
    assert "25 of 25 notifications are not accounted for:" in shown
    assert shown.count("its end was reported 0 times") == table.MAX_FAULTS_SHOWN
    assert "and 5 more" in shown


def test_log_is_read_as_it_grows(tmp_path: Path) -> None:
    """Only whole lines are taken, each once; before the first there is nothing."""
    log = tmp_path / "requests.jsonl"
    follower = RequestFollower(log)
    follower.read()
    assert follower.received == []
    line = json.dumps(
        {
            "apns_id": "one",
            "device_token": None,
            "at": 1.5,
            "status": 200,
            "reason": "",
            "provider_token": "first",
            "payload": '{"version": 3}',
        }
    )
    with log.open("a", encoding="utf-8", buffering=1) as file:
        file.write(line + "\n" + line[:20])
        file.flush()
        follower.read()
        assert [(request.apns_id, request.version) for request in follower.received] == [("one", 3)]
        file.write(line[20:] + "\n")
        file.flush()
        follower.read()
    assert len(follower.received) == 2
