"""Which ports a process has connected from, as the kernel tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def local_ports(pid: int) -> frozenset[int]:
    """Return the local ports of a process's TCP sockets.

    Source: proc(5), /proc/pid/fd and /proc/net/tcp.
    """
    inodes = set(_socket_inodes(pid))
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return frozenset(int(each[1].rpartition(":")[2], 16) for each in fields if each[9] in inodes)


def _socket_inodes(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed in the meantime
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]
