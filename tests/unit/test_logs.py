"""Logs are lines for machines, or colours on a terminal; neither shows what a failing function held."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

CODE = """
import logging
import structlog
from workers import logs
logs.configure("INFO")
def fail(payload):
    raise ValueError("no such thing")
try:
    fail("canary-" + "in-a-local")
except ValueError:
    structlog.get_logger().exception("it_failed", apns_id="one")
    logging.getLogger("celery.worker").exception("it failed too")
"""


def test_lines_are_json(root: Path) -> None:
    """Away from a terminal every line, Celery's own too, is one JSON object with its event."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["it_failed", "it failed too"]
    assert lines[0]["apns_id"] == "one"
    assert all("ValueError: no such thing" in line["exception"] for line in lines)
    assert "canary-in-a-local" not in done.stderr


def test_terminal_shows_no_local_variables(root: Path) -> None:
    """On a terminal a traceback shows where, and never the values of local variables."""
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", CODE], cwd=root, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "it_failed" in shown
    assert "no such thing" in shown
    assert "canary-in-a-local" not in shown
