"""A whole fleet with bad networks in between, and somebody who kills: server, simulator, producer, workers, proxies."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import redis

from dispatcher import Dispatcher, Lane, Settings, StateServerError, ids, redis_keys
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard, poll, wait_until_ready
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.simulator import STRICT, SimulatorSettings, SimulatorThread
from dispatcher.dev.simulator.config_file import set_development
from tests.chaos import ledger
from tests.chaos.ledger import Accepted, Account, Arrived, Ended, Incident
from tests.chaos.producer import Producer
from tests.chaos.proxy import HOST, Proxy
from tests.chaos.sockets import local_ports
from tests.record_sealing import KEYS_TEXT

READY_WITHIN_S: Final = 60.0
#: SIGTERM must be done in this time, whatever a worker is doing.
TERMINATED_WITHIN_S: Final = 10.0
#: Between two background updates of a device: short, so that much happens in little time.
BACKGROUND_SPACING_S: Final = 2.0
#: What a worker sent just before it was killed may still be on its way.
IN_TRANSIT_S: Final = 1.0
_GROUP: Final = "ledger"
_ROOT: Final = str(Path(__file__).parents[2])


class Rig:
    """A running fleet; everything that is done to it is noted as an incident.

    Args:
        directory: Where everything writes; kept for whoever has to find out.
        lanes: The lane of each worker.
        broker_url: Of another broker than the state server; it gets a proxy of its own.
        seed: Of the dice.
        apple: What the simulator does where Apple leaves a choice.
        development: Settings for the table [development] of the workers' configuration.
        apns_host: By which name workers know this machine when they push.

    Attributes:
        server: The state server, and the broker unless there is another.
        worker_config: The configuration file of workers, beside that of producers.
        settings: What a producer here works with.
        apns: The simulator.
        state_network: Between the workers and the state server.
        producer_network: Between the producers and the state server.
        apns_network: Between the workers and the simulator.
        broker_network: Between everybody and the other broker; None without one.
        incidents: What was done so far.
        exits: How workers ended that nobody had asked to.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lanes: Sequence[Lane] = tuple(Lane) * 2,
        broker_url: str | None = None,
        seed: int = 0,
        apple: SimulatorSettings = STRICT,
        development: Mapping[str, float] = MappingProxyType({}),
        apns_host: str = HOST,
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.dice = random.Random(seed)  # noqa: S311  (dice, no secrets)
        self.incidents: list[Incident] = []
        self.exits: list[str] = []
        self.broker_network: Proxy | None = None
        self._seed = seed
        self._lanes = lanes
        self._broker_url = broker_url
        self._apple = replace(apple, requests_remembered=0)
        self._development = {"background_spacing_s": BACKGROUND_SPACING_S, **development}
        self._apns_host = apns_host
        self._ahead_s = 0.0
        self._running = ExitStack()
        self._numbers = count(1)
        self._workers: dict[Child, Lane] = {}
        self._ended: dict[tuple[int, str], Ended] = {}
        self._receipts: list[Path] = []
        self._logs: list[Path] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def other_broker(self) -> Proxy:
        """Return the network between everybody and the other broker."""
        assert self.broker_network is not None, "the state server is the broker"
        return self.broker_network

    @property
    def workers(self) -> Mapping[Child, Lane]:
        """The workers that should be running."""
        return self._workers

    @property
    def worker_env(self) -> dict[str, str]:
        """The environment variables of workers: everything by way of the proxies."""
        return {**self._env(self.state_network), "APNS_CONFIG": str(self.worker_config)}

    @property
    def producer_env(self) -> dict[str, str]:
        """The environment variables of producers, whose way to the state server is another."""
        return {**self._env(self.producer_network), "APNS_CONFIG": str(self.apns.config_file)}

    # What is started and ended

    def start_worker(self, lane: Lane, *, app: str = "workers", env: Mapping[str, str] = MappingProxyType({})) -> Child:
        """Start one more worker, without waiting for it; `app` is the Celery app it runs, `env` what it has besides."""
        number = next(self._numbers)
        name = f"{lane}-{number}"
        command = [app if word == "workers" else word for word in programs.worker(lane, number)]
        child = self._launch(name, command, {**self.worker_env, **env})
        self._workers[child] = lane
        self._logs.append(child.log)
        return child

    def wait_until_ready(self, *workers: Child) -> None:
        """Wait until workers have given a sign of life; all of them if none is named.

        Raises:
            ChildError: One ended, or gave none in time.
        """
        waiting = workers or tuple(self._workers)
        wait_until_ready({worker: partial(self._has_given_sign, worker) for worker in waiting}, within_s=READY_WITHIN_S)

    def wait_for_end(self, worker: Child) -> None:
        """Wait until a worker has ended by itself; nobody starts another."""
        assert poll(lambda: not worker.is_running, within_s=30), worker.last_lines(10)
        self._note_exit(worker)

    def produce(self, *, rate: float, seconds: float) -> Child:
        """Start a producer."""
        file = self._receipt_file()
        options = {"--file": file, "--rate": rate, "--seconds": seconds, "--seed": self._seed + len(self._receipts)}
        words = [str(word) for option in options.items() for word in option]
        command = [sys.executable, "-m", "tests.chaos.producer", *words]
        return self._launch(file.stem, command, self.producer_env)

    def start_program(self, name: str, arguments: Sequence[str]) -> Child:
        """Start another Python program beside the workers, on their configuration."""
        return self._launch(name, [sys.executable, *arguments], self.worker_env)

    def sender(self) -> Producer:
        """Return a producer in this process, whose receipts count like those of others."""
        file = self._receipt_file()
        output = self._running.enter_context(file.open("a", encoding="utf-8"))
        return Producer(push=self.push, file=output, dice=self.dice, name=file.stem)

    def supervise(self) -> None:
        """Start again the workers that have ended by themselves, as a supervisor does; note how they ended."""
        for child in [child for child in self._workers if not child.is_running]:
            self.start_worker(self._note_exit(child))

    # What is done to it

    def pick(self, lane: Lane | None = None) -> Child:
        """Return any worker, or one of a lane."""
        return self.dice.choice([child for child, its in self._workers.items() if lane in (None, its)])

    def kill(self, worker: Child) -> None:
        """End a worker by SIGKILL in the middle of whatever it does, and start another in its place."""
        worker.send_signal(signal.SIGSTOP)  # what it has connected is still there to be looked at
        connections, begun = self.connections_of(worker), time.time()
        worker.kill()
        ended = time.time() + IN_TRANSIT_S
        self.incidents.append(Incident(cause="SIGKILL", begun=begun, ended=ended, connections=connections))
        self.start_worker(self._workers.pop(worker))

    def connections_of(self, worker: Child) -> frozenset[int]:
        """Return the numbers of a worker's connections to the simulator."""
        own = local_ports(worker.pid)
        seen = {port for port, client_port in self.apns_network.client_ports.items() if client_port in own}
        clients = self.apns.call(lambda: self.apns.simulator.clients)
        return frozenset(number for number, port in clients.items() if port in seen)

    def terminate(self, worker: Child) -> float:
        """End a worker by SIGTERM, and start another in its place; return how long it took, in seconds."""
        self.wait_until_ready(worker)  # one that only starts ends as any program does
        begun = time.monotonic()
        lane = self._workers.pop(worker)
        worker.send_signal(signal.SIGTERM)
        self.start_worker(lane)
        assert poll(lambda: not worker.is_running, within_s=TERMINATED_WITHIN_S), worker.last_lines(20)
        assert worker.exit_code == 0, (worker.exit_code, worker.last_lines(20))
        return time.monotonic() - begun

    def during(self, cause: str, seconds: float, begin: Callable[[], object], end: Callable[[], object]) -> None:
        """Let something be so for a while."""
        begun = time.time()
        begin()
        self.wait(seconds)
        end()
        self.incidents.append(Incident(cause=cause, begun=begun, ended=time.time()))

    def advance(self, seconds: float) -> None:
        """Move the clocks of the state server and of Apple; no worker is told."""
        self._ahead_s += seconds
        for shard in range(ids.SHARDS):
            self.state.set(redis_keys.clock(shard), f"{self._ahead_s:.3f}")

    def now(self) -> float:
        """Return the time by those clocks, in Unix seconds."""
        return time.time() + self._ahead_s

    def wait(self, seconds: float) -> None:
        """Let time pass, reading feedback and supervising as ever."""
        ends = time.monotonic() + seconds
        while (left_s := ends - time.monotonic()) > 0:
            time.sleep(min(0.2, left_s))
            self.supervise()
            self.read_feedback()

    # What came of it

    def wait_for(self, producer: Child, *, within_s: float) -> None:
        """Wait until a producer is done; in outages it needs longer than its time, since it does not give up."""
        begun = time.monotonic()
        while producer.is_running:
            assert time.monotonic() - begun < within_s + READY_WITHIN_S, producer.last_lines(20)
            self.wait(0.2)
        assert producer.exit_code == 0, producer.last_lines(20)

    def drain(self, *, within_s: float) -> float:
        """Wait until nothing is left to send; return how long that took, in seconds."""
        begun = time.monotonic()
        while self.unsettled():
            assert time.monotonic() - begun < within_s, self.describe()
            self.wait(0.5)
        took_s = time.monotonic() - begun
        while self.read_feedback():
            continue
        return took_s

    def unsettled(self) -> list[str]:
        """Return the keys of everything that is accepted and not settled."""
        patterns = ("*:batch:*", "*:slot:*", "*:claim:*")
        with suppress(redis.RedisError):
            return [key.decode() for pattern in patterns for key in self.state.scan_iter(pattern, count=1000)]
        return ["the state server does not answer"]

    def read_feedback(self) -> int:
        """Read what feedback there is; return how much. An unreachable server only means later."""
        with suppress(StateServerError):
            records = self._reader.read(count=1000)
            for each in records:
                self._ended[each.shard, each.stream_id] = Ended(apns_id=each.apns_id, outcome=each.outcome)
            self._reader.ack(*records)
            return len(records)
        return 0

    def account(self) -> Account:
        """Join the three records."""
        return ledger.balance(self.accepted(), self.arrived(), self._ended.values(), incidents=self.in_order())

    def in_order(self) -> list[Incident]:
        """Return the incidents by their beginnings."""
        return sorted(self.incidents, key=lambda each: each.begun)

    def accepted(self) -> Iterator[Accepted]:
        """Yield what producers hold receipts for."""
        for line in self._lines():
            if "apns_id" in line:
                yield Accepted(**{**line, "lane": Lane(line["lane"])})

    def failures(self) -> list[dict[str, Any]]:
        """Return the producers' failed calls."""
        return [line for line in self._lines() if "failed" in line]

    def arrived(self) -> Iterator[Arrived]:
        """Yield what the simulator judged."""
        for line in _json_lines(self._requests):
            yield Arrived(
                apns_id=line["apns_id"],
                device_token=line["device_token"] or "",
                at=line["at"],
                status=line["status"],
                connection=line["connection"],
                provider_token=line["provider_token"],
                issued_at=line["issued_at"] or 0,
                key_id=line["key_id"] or "",
                version=json.loads(line["payload"]).get("version"),
            )

    def arrivals(self) -> int:
        """Return how many requests the simulator has judged."""
        return sum(1 for _ in _json_lines(self._requests))

    def next_delivery(self, *, within_s: float) -> float:
        """Wait until something that is accepted from now on arrives; return how long that took, in seconds."""
        begun, known = time.monotonic(), {each.apns_id for each in self.arrived()}
        while time.monotonic() - begun < within_s:
            self.wait(0.2)
            if any(each.apns_id not in known for each in self.arrived()):
                return time.monotonic() - begun
        raise AssertionError(f"nothing arrived within {within_s:g} s: {self.describe()}")

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of an event that workers have logged, those that have ended included."""
        lines = [line for log in self._logs for line in log.read_text("utf-8", "replace").splitlines() if event in line]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def describe(self) -> str:
        """Say where things stand, for a failed wait."""
        logs = {child.name: child.last_lines(5) for child in self._workers}
        return f"left {self.unsettled()[:9]}, exits {self.exits}, logs {logs}"

    def _start(self) -> None:
        self._guard = self._running.enter_context(Guard())
        self.server = self._running.enter_context(EmbeddedServer(self.directory / "state", guard=self._guard))
        port = urlsplit(self.server.url).port or 0
        self.state_network = self._running.enter_context(Proxy(HOST, port, seed=self._seed))
        self.producer_network = self._running.enter_context(Proxy(HOST, port, seed=self._seed))
        if self._broker_url:
            broker = urlsplit(self._broker_url)
            self.broker_network = self._running.enter_context(Proxy(broker.hostname or "", broker.port or 0))
        self._requests = self.directory / "requests.jsonl"
        self.apns = self._running.enter_context(
            SimulatorThread(self.directory / "apns", settings=self._apple, clock=self.now, requests_file=self._requests)
        )
        set_development(self.apns.config_file, self._development)
        simulator_port = urlsplit(self.apns.url).port or 0
        self.apns_network = self._running.enter_context(Proxy(HOST, simulator_port, seed=self._seed))
        self.worker_config = self.apns.config_file.with_name("workers.toml")
        text = self.apns.config_file.read_text(encoding="utf-8")
        text = text.replace(f"{HOST}:{simulator_port}", f"{self._apns_host}:{self.apns_network.port}")
        self.worker_config.write_text(text, encoding="utf-8")
        self.state: Any = self._running.enter_context(redis.Redis.from_url(self.server.url))
        self.settings = Settings.from_env({**self._env(None), "APNS_CONFIG": str(self.apns.config_file)})
        self.push = self._running.enter_context(Dispatcher(self.settings))
        self._reader = self.push.feedback(_GROUP)
        self._running.callback(lambda: self._guard.stop(self._workers, within_s=TERMINATED_WITHIN_S))
        for lane in self._lanes:
            self.start_worker(lane)
        self.wait_until_ready()

    def _env(self, network: Proxy | None) -> dict[str, str]:
        """Return the addresses, by way of a proxy or straight."""
        state_url = through(network, self.server.url) if network else self.server.url
        broker_url = through(self.broker_network, self._broker_url) if self._broker_url else state_url
        return {
            "APNS_BROKER_URL": broker_url,
            "APNS_STATE_URL": state_url,
            "APNS_RECORD_KEYS": KEYS_TEXT,
            "APNS_MODE": "development",
        }

    def _launch(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        return self._guard.start(
            name,
            command,
            log=self.directory / f"{name}.log",
            env=programs.environment({"PYTHONPATH": _ROOT, **env}),
            directory=self.directory,
        )

    def _has_given_sign(self, child: Child) -> bool:
        with suppress(redis.RedisError):
            signs = self.state.zrange(redis_keys.workers(), 0, -1)
            return any(b":%d:" % child.pid in sign for sign in signs)
        return False

    def _note_exit(self, worker: Child) -> Lane:
        """Forget a worker that has ended by itself; return its lane."""
        self.exits.append(f"{worker.name} exit {worker.exit_code}: {' / '.join(worker.last_lines(2))}")
        # Its connections went with it: any of that time may have been its own.
        self.incidents.append(Incident(cause="exit of a worker", begun=time.time() - 1, ended=time.time()))
        return self._workers.pop(worker)

    def _receipt_file(self) -> Path:
        file = self.directory / f"receipts-{len(self._receipts) + 1}.jsonl"
        self._receipts.append(file)
        return file

    def _lines(self) -> Iterator[dict[str, Any]]:
        for file in self._receipts:
            yield from _json_lines(file)


def through(proxy: Proxy | None, url: str) -> str:
    """Return a server's address by way of a proxy."""
    assert proxy is not None
    return url.replace(f":{urlsplit(url).port}", f":{proxy.port}")


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines():
            yield json.loads(line)
