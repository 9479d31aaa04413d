"""Count processor time and memory of exactly one process; Linux only, where /proc tells them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from statistics import median
from time import clock_gettime, process_time
from typing import Final

import redis

US: Final = 1e6
_PROC: Final = Path("/proc")
_SCHEDULER_CLOCK: Final = 2
_CALIBRATION_STEPS: Final = 1_000_000
_CALIBRATIONS: Final = 5
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def is_supported() -> bool:
    """Tell whether this system counts what the benchmarks need."""
    return (_PROC / "self" / "stat").exists()


def process_cpu_s(pid: int) -> float:
    """Return the seconds of processor time, user and system, that a process has used in all its threads.

    Source: clock_getcpuclockid(3), whose clock number is written out here because Python does not offer it; the times
    in /proc advance in steps of 10 ms.
    """
    return clock_gettime(~pid << 3 | _SCHEDULER_CLOCK)


def server_cpu_s(client: redis.Redis) -> float:
    """Return the seconds of processor time that a state server has used."""
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def peak_memory_mb() -> float:
    """Return the most memory this process has held so far, in MB."""
    found = _PEAK.search((_PROC / "self" / "status").read_text(encoding="utf-8"))
    return int(found[1]) / 1000 if found else 0.0


def calibrate() -> float:
    """Return how long this machine takes for a fixed piece of Python, in milliseconds of processor time."""
    return median(_one_calibration() for _ in range(_CALIBRATIONS))


def processor_name() -> str:
    """Return what the processor calls itself."""
    lines = (_PROC / "cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, os.uname().machine)


def _one_calibration() -> float:
    before = process_time()
    total = 0
    for step in range(_CALIBRATION_STEPS):
        total += step & 7
    return (process_time() - before) * 1000
