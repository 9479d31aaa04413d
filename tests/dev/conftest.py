"""How tests of the development tools find processes that should be gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

StartProgram = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def living(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that lists the living processes that were started with this test's temporary directory.

    They are known by their environment, which every child inherits, however far from its parent it has gone.
    """

    def find() -> list[str]:
        if Path("/proc/self/environ").exists():
            return list(_from_proc(f"TMPDIR={tmp_path}".encode()))
        shown = subprocess.run(["/bin/ps", "axeww"], capture_output=True, text=True, check=True)
        return [line for line in shown.stdout.splitlines() if f"TMPDIR={tmp_path}" in line]

    return find


@pytest.fixture
def start_program(root: Path, tmp_path: Path) -> Iterator[StartProgram]:
    """Return a function that starts Python with some arguments; its temporary directory is the test's."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APNS_")}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=root,
            env={**environment, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _from_proc(variable: bytes) -> Iterator[str]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # The environment of a process that has ended but was not waited for is empty.
            if variable in (directory / "environ").read_bytes().split(b"\0"):
                yield (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
