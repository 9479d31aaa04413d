"""Everything of a fleet on this machine: embedded server, simulator, workers and Flower.

with Stack(directory, lanes=[Lane.ALERT]) as stack:
    push = Dispatcher(Settings.from_env(stack.env))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from dispatcher import redis_keys
from dispatcher.dev import programs
from dispatcher.dev.children import Child, ChildError, Guard, wait_until_ready
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.flower import is_healthy
from dispatcher.dev.ports import HOST, free_port
from dispatcher.dev.record_key import make_record_key
from dispatcher.dev.servers import Servers
from dispatcher.dev.simulator.config_file import set_development
from dispatcher.dev.users import Role
from dispatcher.push_types import Lane
from dispatcher.scripts import Clock
from dispatcher.state_server import StateServer

#: Long enough for a machine that is busy with other things.
READY_WITHIN_S: Final = 60.0
#: Workers finish what is in flight and give the rest back within this.
STOPPED_WITHIN_S: Final = 10.0

_STATE_TIMEOUT_S: Final = 10.0
_RECORD_KEYS_FILE: Final = "record-keys"
#: Who gets no key of records.
_READ_NO_RECORD: Final = (Role.FLOWER, Role.EXPORTER)
_OWN: Final = Servers()
_READY_LINE: Final = re.compile(r"simulator ready on (https://\S+)")


class Stack:
    """Programs that start together and stop together; none outlives this process.

    Args:
        directory: Where they keep their files and logs; created when missing.
        lanes: The lanes that get workers.
        flower: Whether Flower runs too.
        workers_per_lane: How many worker processes each lane gets.
        retry_scale: What every retry delay is multiplied by; None for the simulator's choice.
        simulator_options: More of the simulator's command line.
        log_requests: Whether the simulator writes each request down; an hour of many of them fills gigabytes.
        background_spacing_s: Seconds between two background notifications of a device; None for each app's budget.
        servers: Which servers they work with.

    Attributes:
        simulator_requests: The simulator's log, a JSON object per request.
        hold_file: While this file exists the simulator holds its answers back.
        worker_env: Environment variables of workers where they differ from `env`; set them before workers start.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lanes: Iterable[Lane] = tuple(Lane),
        flower: bool = False,
        workers_per_lane: int = 1,
        retry_scale: float | None = None,
        simulator_options: Sequence[str] = (),
        log_requests: bool = True,
        background_spacing_s: float | None = None,
        servers: Servers = _OWN,
    ) -> None:
        self.directory = directory.resolve()
        self._servers = servers
        self.simulator_requests = self.directory / "requests.jsonl"
        self.hold_file = self.directory / "hold"
        self.worker_env: dict[str, str] = {}
        self._lanes = tuple(lanes) * workers_per_lane
        self._flower_port = free_port() if flower else 0
        self._development = {"retry_scale": retry_scale, "background_spacing_s": background_spacing_s}
        self._simulator_options = simulator_options
        self._log_requests = log_requests
        self._resources = ExitStack()
        self._numbers = {lane: count(1) for lane in Lane}
        self._workers: dict[Child, Lane] = {}
        self._flower: Child | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment variables for a web app that works with this stack, once its servers run."""
        return self.env_of(Role.PRODUCER)

    def env_of(self, role: Role) -> dict[str, str]:
        """Return the environment variables for whoever has this role, once the servers run."""
        record_keys = {"APNS_RECORD_KEYS_FILE": str(self.directory / _RECORD_KEYS_FILE)}
        return {
            **self._servers.env(self._server, role),
            "APNS_CONFIG": str(self.config),
            "APNS_MODE": "development",
            **({} if role in _READ_NO_RECORD else record_keys),
        }

    @property
    def state_url(self) -> str:
        """Where the state is, once the servers run, for those who may do everything."""
        return self._servers.state_url or self._server.url

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "apns" / "apns.toml"

    @property
    def simulator_url(self) -> str:
        """Where the simulator listens, once it runs."""
        found = _READY_LINE.search(self._simulator.log.read_text(encoding="utf-8"))
        return found[1] if found else ""

    @property
    def flower_url(self) -> str:
        """Where Flower is, when it was asked for."""
        return f"http://{HOST}:{self._flower_port}"

    @property
    def server(self) -> EmbeddedServer:
        """The embedded server, once started."""
        return self._server

    @property
    def children(self) -> tuple[Child, ...]:
        """Every process, once started."""
        flower = (self._flower,) if self._flower else ()
        return (self._server.child, self._simulator, *self._workers, *flower)

    def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises:
            ChildError: A process did not start; everything else has been stopped.
        """
        self.start_servers()
        self.start_workers()

    def start_servers(self) -> None:
        """Start what the workers need: the embedded server and the simulator.

        Raises:
            ChildError: One did not start; everything has been stopped.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        make_record_key(self.directory / _RECORD_KEYS_FILE)
        try:
            self._guard = self._resources.enter_context(Guard())
            self._server = EmbeddedServer(self.directory / "state", guard=self._guard, users=self._servers.users)
            self._resources.enter_context(self._server)
            self._broker = redis.Redis.from_url(self._server.url)
            self._resources.callback(self._broker.close)
            self._state = StateServer(self.state_url, clock=Clock.SHIFTED, timeout_s=_STATE_TIMEOUT_S)
            self._resources.callback(self._state.close)
            self._simulator = self._start_simulator()
            self._resources.callback(self._guard.stop, [self._simulator], within_s=STOPPED_WITHIN_S)
            wait_until_ready({self._simulator: lambda: bool(self.simulator_url)}, within_s=READY_WITHIN_S)
        except BaseException:
            self.stop()
            raise
        set_development(self.config, self._development)

    def start_workers(self) -> None:
        """Start the workers and Flower, all at once.

        Raises:
            ChildError: One did not start; everything has been stopped.
        """
        self._resources.callback(self.stop_workers)
        try:
            checks = dict(self._launch_worker(lane) for lane in self._lanes)
            if self._flower_port:
                checks |= dict([self._launch_flower()])
            wait_until_ready(checks, within_s=READY_WITHIN_S)
        except BaseException:
            self.stop()
            raise

    def start_worker(self, lane: Lane) -> Child:
        """Start one more worker and wait until it is ready.

        Raises:
            ChildError: It did not start.
        """
        child, is_ready = self._launch_worker(lane)
        wait_until_ready({child: is_ready}, within_s=READY_WITHIN_S)
        return child

    def stop_workers(self) -> None:
        """Let the workers and Flower finish what is in flight, and end them."""
        flower = [self._flower] if self._flower else []
        self._guard.stop([*self._workers, *flower], within_s=STOPPED_WITHIN_S)
        self._workers.clear()
        self._flower = None

    def revive(self) -> list[str]:
        """Start workers and Flower again where they have ended; return the names of those that had.

        Raises:
            ChildError: The embedded server or the simulator has ended: nothing helps.
        """
        for child in (self._server.child, self._simulator):
            if not child.is_running:
                raise ChildError(child, f"ended with exit code {child.exit_code}")
        dead = [child for child in self._workers if not child.is_running]
        for child in dead:
            self._launch_worker(self._workers.pop(child))
        if self._flower and not self._flower.is_running:
            dead.append(self._flower)
            self._launch_flower()
        return [child.name for child in dead]

    def stop(self) -> None:
        """End everything, in order; whatever happens, nothing is left running."""
        self._resources.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start_simulator(self) -> Child:
        requests = self.simulator_requests if self._log_requests else None
        command = programs.simulator(
            self.config.parent, requests=requests, hold_file=self.hold_file, clock_url=self._server.url
        )
        return self._launch("simulator", [*command, *self._simulator_options], {})

    def _launch_worker(self, lane: Lane) -> tuple[Child, Callable[[], bool]]:
        number = next(self._numbers[lane])
        child = self._launch(
            f"{lane}-{number}", programs.worker(lane, number), {**self.env_of(Role.WORKER), **self.worker_env}
        )
        self._workers[child] = lane
        return child, lambda: self._has_given_sign(child, lane)

    def _has_given_sign(self, child: Child, lane: Lane) -> bool:
        signs = self._state.ask(redis_keys.FLEET_SHARD, lambda pipeline: pipeline.zrange(redis_keys.workers(), 0, -1))
        return any(sign.endswith(b":%d:%s" % (child.pid, lane.encode())) for sign in signs)

    def _launch_flower(self) -> tuple[Child, Callable[[], bool]]:
        self._flower = self._launch("flower", programs.flower(self._flower_port), self.env_of(Role.FLOWER))
        return self._flower, lambda: is_healthy(self._flower_port) and self._flower_listens()

    def _flower_listens(self) -> bool:
        """Tell whether Flower hears events: what workers say before is lost to it, though its pages are there."""
        if self._servers.broker_url:
            return True  # not ours to ask
        for_events, for_commands = 1, int(bool(self._workers))
        patterns: Any = self._broker.pubsub_numpat()
        return bool(patterns >= for_events + for_commands)

    def _launch(self, name: str, command: list[str], ours: Mapping[str, str]) -> Child:
        return self._guard.start(
            name,
            command,
            log=self.directory / f"{name}.log",
            env=programs.environment(ours),
            directory=self.directory,
        )
