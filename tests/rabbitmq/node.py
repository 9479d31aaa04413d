"""A RabbitMQ node of the tests' own: child processes in a temporary directory, on free ports of the loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import amqp

from dispatcher.dev.children import Child, Guard, wait_until_ready
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.simulator.certificates import (
    CA_FILE,
    SERVER_CERTIFICATE_FILE,
    SERVER_KEY_FILE,
    open_tls_context,
)

PROGRAM: Final = "rabbitmq-server"
PASSWORD: Final = "of-tests"  # noqa: S105
#: Where the fleet of the tests is, where web apps publish with nobody there to read, and where a fleet is shaken.
FLEET_VHOST: Final = "/"
WEB_VHOST: Final = "web"
CHAOS_VHOST: Final = "chaos"
_VHOSTS: Final = (FLEET_VHOST, WEB_VHOST, CHAOS_VHOST)
#: User -> what it may configure, write and read.
USERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "apns": (".*", ".*", ".*"),
    "web": (r"^apns(\..*)?$", r"^(amq\.default|apns(\..*)?)$", r"^apns$"),
}
#: Packages put a program in the way that insists on the system's user and directories; behind it is this one.
_BEHIND: Final = Path("/usr/lib/rabbitmq/bin") / PROGRAM
_READY_WITHIN_S: Final = 60.0
_HELD_BYTES: Final = 16_777_216

_CONF: Final = """\
listeners.tcp.1 = {host}:{port}
listeners.ssl.1 = {host}:{tls_port}
ssl_options.cacertfile = {directory}/ca.pem
ssl_options.certfile = {directory}/{certificate}
ssl_options.keyfile = {directory}/{certificate_key}
load_definitions = {directory}/definitions.json
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 10MB
raft.wal_max_size_bytes = {held_bytes}
"""


def is_installed() -> bool:
    """Tell whether there is a RabbitMQ on this machine."""
    return _BEHIND.exists() or shutil.which(PROGRAM) is not None


class Node:
    """A node from start to stop; it never outlives this process.

    Args:
        directory: Where it keeps everything.

    Attributes:
        port: Where it answers.
        tls_port: Where it answers over TLS, with the simulator's certificates.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.tls_port = free_port()
        self._epmd_port = free_port()
        self._resources = ExitStack()
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where web apps publish."""
        return self.url_at(self.port)

    @property
    def ca_file(self) -> Path:
        """Who vouches for its certificate."""
        return self.directory / CA_FILE

    def url_at(self, port: int, *, user: str = "apns", vhost: str = WEB_VHOST) -> str:
        """Return where it answers a user, through something that stands before it."""
        return f"amqp://{user}:{PASSWORD}@{HOST}:{port}/{vhost}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._write_files()
        self._guard = self._resources.enter_context(Guard())
        self._launch("epmd", ["epmd", "-address", HOST, "-port", str(self._epmd_port)])
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the node itself, again after it was killed, without waiting for it."""
        program = str(_BEHIND) if _BEHIND.exists() else PROGRAM
        self._child = self._launch("rabbitmq", [program, "-noinput"])

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        assert self._child is not None
        wait_until_ready({self._child: self._answers}, within_s=_READY_WITHIN_S)

    def kill(self) -> None:
        """Kill it, as a machine that goes dark does."""
        assert self._child is not None
        self._child.kill()

    def pause(self) -> None:
        """Let it stop in its tracks, its connections open."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def connect(self, *, user: str = "apns", vhost: str = WEB_VHOST) -> Any:
        """Return a plain connection of py-amqp."""
        connection = amqp.Connection(f"{HOST}:{self.port}", user, PASSWORD, virtual_host=vhost)
        connection.connect()
        return connection

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def _write_files(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        open_tls_context(self.directory)
        conf = _CONF.format(
            host=HOST,
            port=self.port,
            tls_port=self.tls_port,
            directory=self.directory,
            certificate=SERVER_CERTIFICATE_FILE,
            certificate_key=SERVER_KEY_FILE,
            held_bytes=_HELD_BYTES,
        )
        (self.directory / "rabbitmq.conf").write_text(conf, encoding="utf-8")
        (self.directory / "definitions.json").write_text(json.dumps(_definitions()), encoding="utf-8")
        (self.directory / "enabled_plugins").write_text("[].", encoding="utf-8")

    def _launch(self, name: str, command: list[str]) -> Child:
        log = self.directory / f"{name}.log"
        child = self._guard.start(name, command, log=log, env=self._environment(), directory=self.directory)
        self._resources.callback(self._guard.stop, [child], within_s=0.0)  # nothing is worth a graceful end
        return child

    def _environment(self) -> dict[str, str]:
        directory = str(self.directory)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": directory,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": "apns@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": f"{directory}/mnesia",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_PID_FILE": f"{directory}/pid",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{directory}/conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
            "RABBITMQ_ALLOW_INPUT": "1",  # one process instead of two, the one that is killed
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-start_epmd false +S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0):
                pass
        except OSError:
            return False
        return True


def _definitions() -> dict[str, Any]:
    salt = b"salt"
    digest = base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()
    rights = ("configure", "write", "read")
    return {
        "users": [{"name": name, "password_hash": digest, "tags": ""} for name in USERS],
        "vhosts": [{"name": vhost} for vhost in _VHOSTS],
        "permissions": [
            {"user": name, "vhost": vhost, **dict(zip(rights, patterns, strict=True))}
            for name, patterns in USERS.items()
            for vhost in _VHOSTS
        ],
    }
