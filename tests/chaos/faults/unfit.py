"""B3, B7 and B8: servers that are demoted, full, or set up to lose something."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import redis

from dispatcher import Lane
from dispatcher.dev import programs
from dispatcher.dev.children import Guard, poll
from dispatcher.dev.servers import Servers
from dispatcher.dev.simulator.certificates import open_tls_context
from dispatcher.dev.simulator.config_file import write_config
from dispatcher.dev.simulator.world import CONFIG_FILE, open_world
from dispatcher.dev.stack import Stack
from dispatcher.push_types import Environment
from tests.chaos.profiles import FAILED_WITHIN_S
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless
from tests.replication.conftest import running
from tests.replication.failing import BACK_WITHIN_S, happen_under_load
from tests.replication.servers import Watched
from tests.safe_server import safe_server

RATE: Final = 100.0
FULL_S: Final = 30.0
#: A worker whose settings have to be changed.
REFUSED_EXIT: Final = 2


def _failed_over(directory: Path, *, enqueue: str) -> Findings:
    servers = Watched(directory / "watched")
    try:
        stack = Stack(directory / "stack", servers=Servers(broker_url=servers.url, state_url=servers.url))
        with running(stack, enqueue=enqueue) as fleet:
            found = happen_under_load(fleet, servers.master.child.kill, servers.has_failed_over)
    finally:
        servers.close()
    return Findings(facts={"measured": found})


def _full(directory: Path) -> Findings:
    with Rig(directory) as rig:
        producer = rig.produce(rate=RATE, seconds=FULL_S + 20)
        rig.wait(8.0)
        rig.state.config_set("maxmemory", rig.state.info("memory")["used_memory"] + 2**17)
        rig.wait(FULL_S)
        rig.state.config_set("maxmemory", 0)
        back_s = rig.next_delivery(within_s=BACK_WITHIN_S)
        rig.wait_for(producer, within_s=60)
        failures = rig.failures()
        kinds = {each["failed"] for each in failures}
        slowest_s = max((each["took_s"] for each in failures), default=0.0)
        found = settled(
            rig, failed_calls=f"{len(failures)}, all {' and '.join(sorted(kinds))}", back_after=f"{back_s:.1f} s"
        )
        return found.but(
            *unless(kinds == {"Backpressure"}, f"calls failed as {sorted(kinds)}"),
            *unless(slowest_s <= FAILED_WITHIN_S, f"a call took {slowest_s:.1f} s to fail"),
            *unless(not rig.exits, f"{len(rig.exits)} workers ended"),
        )


def _evicting(directory: Path) -> Findings:
    apns = directory / "apns"
    apns.mkdir(parents=True)
    open_world(apns)
    open_tls_context(apns)
    write_config(apns, url="https://127.0.0.1:1", environment=Environment.PRODUCTION)
    config = apns / CONFIG_FILE
    config.write_text(config.read_text(encoding="utf-8").split("[development]")[0], encoding="utf-8")
    with safe_server(directory / "server", "--maxmemory-policy", "allkeys-lru") as url, Guard() as guard:
        env = {"APNS_MODE": "production", "APNS_CONFIG": str(config), "APNS_BROKER_URL": url}
        worker = guard.start(
            "worker",
            programs.worker(Lane.ALERT, 1),
            log=directory / "log",
            env=programs.environment(env),
            directory=directory,
        )
        has_ended = poll(lambda: not worker.is_running, within_s=30)
        said = [line for line in worker.last_lines(20) if "worker_start_refused" in line]
        guard.stop([worker], within_s=1)
        with redis.Redis.from_url(url) as client:
            written = client.dbsize()
    return Findings(
        facts={"exit code": worker.exit_code, "lines": len(said), "keys written": written},
        problems=(
            *unless(has_ended and worker.exit_code == REFUSED_EXIT, f"ended with {worker.exit_code}"),
            *unless(len(said) == 1 and "noeviction" in said[0], "the mend is not said"),
        ),
    )


ROWS: Final = (
    Row(
        number="B3",
        fault="the master of broker and state is killed, its replica takes over, wait_for_replicas = 1",
        limit=f"lost 0, everybody back within {BACK_WITHIN_S:g} s by themselves",
        run=partial(_failed_over, enqueue="wait_for_replicas = 1\nreplica_timeout_ms = 900"),
        otherwise="stock workers exit",
    ),
    Row(
        number="B7",
        fault=f"the server's memory is full for {FULL_S:g} s",
        limit="lost 0, calls raise Backpressure at once, no worker ends",
        run=_full,
        otherwise="a stock worker dies with the message it popped",
    ),
    Row(
        number="B8",
        fault="maxmemory-policy allkeys-lru in production",
        limit="a worker refuses to start and says the line that mends it",
        run=_evicting,
        is_quick=True,
    ),
)
