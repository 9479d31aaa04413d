"""Start processes that cannot outlive this one.

Each is the leader of a session of its own, so that Ctrl-C in a terminal reaches only us and we end them in order. That
they end even if we are killed is the work of one more small process, the guard, which notices our end by a pipe.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dispatcher.dev import guard
from dispatcher.errors import DispatcherError

#: A process notes itself with the guard before it becomes what it is meant to be: whenever we die, none is forgotten.
_NOTE_AND_BECOME: Final = 'echo "+$$" >&0 && exec "$@" </dev/null'
_POLL_S: Final = 0.02
_LINES_SHOWN: Final = 15


class ChildError(DispatcherError):
    """A process could not be started, or ended when it should not.

    Attributes:
        name: Which.
        log: The file it wrote its output to.
    """

    def __init__(self, child: Child, what: str) -> None:
        self.name = child.name
        self.log = child.log
        lines = "\n".join(f"  {line}" for line in child.last_lines(_LINES_SHOWN))
        super().__init__(f"{child.name} {what}; the end of {child.log}:\n{lines}")


class Child:
    """A process started by a `Guard`.

    Attributes:
        name: What people call it.
        log: The file it writes its output to.
        pid: Its process id, and that of its process group.
    """

    def __init__(self, name: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.log = log
        self.pid = process.pid
        self._process = process

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it and what it started at once, and wait until it is gone."""
        self.send_signal(signal.SIGKILL)
        self._process.wait()

    def last_lines(self, count: int) -> list[str]:
        """Return the end of its output."""
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]


class Guard:
    """Starts processes, and ends them all when it is closed or this process is gone."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        script = [sys.executable, "-I", "-S", guard.__file__]
        self._process = subprocess.Popen(  # noqa: S603  (our own script)
            script, stdin=reading, stdout=subprocess.DEVNULL, start_new_session=True
        )
        os.close(reading)

    def start(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], directory: Path) -> Child:
        """Start a process; its output is appended to a file."""
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  (the command is an argument, not part of the script)
                ["/bin/sh", "-c", _NOTE_AND_BECOME, "sh", *command],
                stdin=self._writing,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=directory,
                start_new_session=True,
            )
        return Child(name, log, process)

    def stop(self, children: Iterable[Child], *, within_s: float) -> None:
        """Ask processes to end, and kill those that have not ended in time."""
        children = tuple(children)
        try:
            for child in children:
                child.send_signal(signal.SIGTERM)
                child.send_signal(signal.SIGCONT)
            poll(lambda: not any(child.is_running for child in children), within_s=within_s)
        finally:
            for child in children:
                child.kill()
                os.write(self._writing, b"-%d\n" % child.pid)

    def close(self) -> None:
        """Kill what has not been stopped."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def wait_until_ready(checks: Mapping[Child, Callable[[], bool]], *, within_s: float) -> None:
    """Wait until every process shows the sign by which it is known to be ready.

    Raises:
        ChildError: One ended, or did not become ready in time.
    """
    waiting = dict(checks)

    def are_ready() -> bool:
        for child, is_ready in tuple(waiting.items()):
            if not child.is_running:
                raise ChildError(child, f"ended with exit code {child.exit_code} before it was ready")
            if is_ready():
                del waiting[child]
        return not waiting

    if not poll(are_ready, within_s=within_s):
        raise ChildError(next(iter(waiting)), f"was not ready within {within_s:g} s")


def poll(is_so: Callable[[], bool], *, within_s: float) -> bool:
    """Ask until it is so, or the time is over; return the last answer."""
    ends = time.monotonic() + within_s
    while not (answer := is_so()) and time.monotonic() < ends:
        time.sleep(_POLL_S)
    return answer
