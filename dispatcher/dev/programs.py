"""How each program of the stack is started."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dispatcher import routing
from dispatcher.dev.ports import HOST
from dispatcher.push_types import Lane

#: Batches in flight per worker process: calls come one by one, alerts and background updates many in one.
CONCURRENCY: Final[Mapping[Lane, int]] = {Lane.VOIP: 200, Lane.ALERT: 20, Lane.BACKGROUND: 20}

_OURS: Final = "APNS_"
_ROOT: Final = Path(__file__).parents[2]


def simulator(directory: Path, *, requests: Path | None, hold_file: Path, clock_url: str) -> list[str]:
    """Return the command line of the simulator, on any free port; without `requests` it writes no request down."""
    log = ("--requests", str(requests)) if requests else ()
    files = ("--dir", str(directory), *log, "--hold-file", str(hold_file))
    return [sys.executable, "-m", "dispatcher.dev.simulator", "--port", "0", "--clock-url", clock_url, *files]


def worker(lane: Lane, number: int) -> list[str]:
    """Return the command line of a lane's n-th worker on this machine."""
    place = ("-Q", routing.single_queue(lane), "-n", f"{lane}-{number}@%h", "-c", str(CONCURRENCY[lane]))
    return [*_celery(), "worker", *place, "-l", "WARNING", "--without-gossip", "--without-mingle"]


def flower(port: int) -> list[str]:
    """Return the command line of Flower."""
    return [*_celery(), "flower", f"--address={HOST}", f"--port={port}", "--read_only", "--max_tasks=10000"]


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a program: this process's, of ours exactly those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**inherited, "PYTHONUNBUFFERED": "1", **_python_path(inherited), **ours}


def _celery() -> list[str]:
    return [sys.executable, "-m", "celery", "-q", "-A", "workers"]


def _python_path(inherited: Mapping[str, str]) -> dict[str, str]:
    """Let a program that is started elsewhere find this package where it is run from its source, not installed."""
    if str(_ROOT) in site.getsitepackages():
        return {}
    paths = (str(_ROOT), inherited.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
