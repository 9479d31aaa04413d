"""Senders of others, run by a command: `--peer 'NAME=COMMAND'`.

    --peer 'h2load=h2load -n {count} -c 1 -m {in_flight} -d {payload} -H "authorization: bearer {token}"
            -H "apns-topic: com.example.app" -H "apns-push-type: alert" -H "apns-priority: 10" {url}/3/device/00'

The command is run without a shell and should send `{count}` pushes on one connection, `{in_flight}` at a time, wait for
the answers, and end with exit code 0. What it costs is its processor time, that of its own children included, less the
time of the same command with as few pushes as are in flight: its start and its first connection. The sink counts what
arrives, in both. It repeats an apns-id only if that begins with `00000000-0000-4000-8000-`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from dispatcher.dev.children import poll
from dispatcher.dev.simulator.certificates import CA_FILE
from tests.bench.manner import Manner
from tests.bench.processor import process_cpu_s
from tests.bench.pushes import PAYLOAD
from tests.bench.results import VoidError, must_agree
from tests.bench.senders import provider_token
from tests.bench.sink_process import Sink

#: What a command may hold -> what stands there when it runs.
PLACEHOLDERS: Final[Mapping[str, str]] = {
    "url": "where the sink listens",
    "ca": "a file with the authority to trust",
    "count": "how many pushes to send",
    "in_flight": "how many at a time",
    "token": "a provider token",
    "payload": "a file with the payload",
}
_NEEDED: Final = ("url", "count")
_PAYLOAD_FILE: Final = "payload.json"
_LOG_FILE: Final = "peer.log"
_GIVE_UP_AFTER_S: Final = 180.0
_LINES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A sender of others.

    Attributes:
        name: What it is called in the table.
        command: Its program and arguments, with placeholders.
    """

    name: str
    command: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME=COMMAND`.

        Raises:
            ValueError: It is not that, or lacks a placeholder that is needed.
        """
        name, _, command = text.partition("=")
        arguments = shlex.split(command)
        if not name.strip() or not arguments:
            raise ValueError("expected NAME=COMMAND")
        missing = [needed for needed in _NEEDED if f"{{{needed}}}" not in command]
        if missing:
            raise ValueError(f"the command of {name} lacks {{{missing[0]}}}")
        return cls(name=name.strip(), command=arguments)

    @property
    def is_installed(self) -> bool:
        """Tell whether its program can be found."""
        return shutil.which(self.command[0]) is not None

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """Return the command with values for its placeholders; other braces stay."""
        arguments = list(self.command)
        for name, value in values.items():
            arguments = [argument.replace(f"{{{name}}}", value) for argument in arguments]
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCost:
    """Seconds of processor time of pushes, at both ends."""

    peer_s: float
    sink_s: float


def cost_of_peer(peer: Peer, manner: Manner, directory: Path, sink: Sink, *, pushes: int) -> PeerCost:
    """Let a peer send some, then more; return what the difference costs.

    Raises:
        VoidError: It failed, or the sink saw another number of pushes.
    """
    few = _cost(peer, manner, directory, sink, pushes=manner.in_flight)
    many = _cost(peer, manner, directory, sink, pushes=manner.in_flight + pushes)
    return PeerCost(peer_s=many.peer_s - few.peer_s, sink_s=many.sink_s - few.sink_s)


def _cost(peer: Peer, manner: Manner, directory: Path, sink: Sink, *, pushes: int) -> PeerCost:
    payload_file = directory / _PAYLOAD_FILE
    payload_file.write_text(json.dumps(PAYLOAD, separators=(",", ":")), encoding="utf-8")
    token = provider_token(directory)
    values = {
        "url": sink.url,
        "ca": str(directory / CA_FILE),
        "count": str(pushes),
        "in_flight": str(manner.in_flight),
        "token": token,
        "payload": str(payload_file),
    }
    seen_before, sink_before = sink.seen, process_cpu_s(sink.child.pid)
    log = directory / _LOG_FILE
    exit_code, peer_s = _run(peer.filled(values), log)
    if exit_code:
        lines = log.read_text(encoding="utf-8", errors="replace").replace(token, "{token}").splitlines()
        raise VoidError("\n  ".join([f"{peer.name} ended with exit code {exit_code}", *lines[-_LINES_SHOWN:]]))
    must_agree(f"pushes of {peer.name} seen by the sink", expected=pushes, found=sink.seen - seen_before)
    return PeerCost(peer_s=peer_s, sink_s=process_cpu_s(sink.child.pid) - sink_before)


def _run(command: Sequence[str], log: Path) -> tuple[int, float]:
    """Run a command; return its exit code and its seconds of processor time, its children's included."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        if not poll(lambda: _has_ended(process.pid), within_s=_GIVE_UP_AFTER_S):
            raise VoidError(f"{command[0]} did not end within {_GIVE_UP_AFTER_S:g} s")
    finally:
        # What it started would go on, and stays in its group until it is reaped.
        os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended, and leave it to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
