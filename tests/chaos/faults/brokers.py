"""B: the state server, which is the broker too, as an enemy."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from dispatcher import Lane
from dispatcher.dev.children import poll
from tests.chaos.faults.load import delays_s
from tests.chaos.profiles import FAILED_WITHIN_S
from tests.chaos.proxy import BLACK_HOLE, Network, Proxy
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless

RATE: Final = 100.0
RESTARTS: Final = 10
RESETS: Final = 20
BLACK_HOLE_S: Final = 60.0
BACK_WITHIN_S: Final = 30.0
#: What the append-only file may lack after a crash of the machine: it is brought to the disk once a second.
FSYNC_S: Final = 1.0
CALLS_WITHIN_S: Final = 0.25


def _restarted(directory: Path, *, end: Callable[[Rig], object], times: int) -> Findings:
    with Rig(directory) as rig:
        producer = rig.produce(rate=RATE, seconds=times * 4)
        moments = []
        for _ in range(times):
            rig.wait(3.0)
            moments.append(time.time())
            rig.during("restart of the state server", 0.5, lambda: end(rig), rig.server.restart)
        rig.wait_for(producer, within_s=times * 5)
        rig.drain(within_s=90)
        account = rig.account()
        just_before = sum(any(0 <= at - each.at < FSYNC_S for at in moments) for each in rig.accepted())
        return Findings.of(
            account,
            restarts=times,
            accepted_in_the_second_before_one=just_before,
            calls_that_failed=len(rig.failures()),
        )


def _sigterm(rig: Rig) -> None:
    rig.server.child.send_signal(signal.SIGTERM)
    assert poll(lambda: not rig.server.child.is_running, within_s=10)


def _black_hole(directory: Path, *, way: Callable[[Rig], Proxy]) -> Findings:
    with Rig(directory) as rig:
        producer = rig.produce(rate=RATE, seconds=BLACK_HOLE_S + 20)
        rig.wait(5)
        network = way(rig)
        rig.during(
            "state server out of reach",
            BLACK_HOLE_S,
            lambda: network.set(Network(hold=BLACK_HOLE)),
            lambda: network.set(Network()),
        )
        back_s = rig.next_delivery(within_s=BACK_WITHIN_S)
        rig.wait_for(producer, within_s=BLACK_HOLE_S + 60)
        slowest_s = max((each["took_s"] for each in rig.failures()), default=0.0)
        found = settled(
            rig, failed_calls=len(rig.failures()), slowest=f"{slowest_s:.2f} s", back_after=f"{back_s:.1f} s"
        )
        return found.but(*unless(slowest_s <= FAILED_WITHIN_S, f"a call took {slowest_s:.1f} s to fail"))


def _slow(directory: Path, *, latency_s: float) -> Findings:
    with Rig(directory) as rig:
        network = Network(latency_s=latency_s, jitter_s=latency_s / 4)
        rig.state_network.set(network)
        rig.producer_network.set(network)
        producer = rig.produce(rate=min(RATE, 0.5 / latency_s), seconds=20)
        rig.wait_for(producer, within_s=60)
        rig.drain(within_s=60)
        waited_ms = [1000 * delay_s for delay_s in delays_s(rig, lambda each: each.lane is Lane.VOIP)]
        worst_ms = max(waited_ms, default=0.0)
        found = Findings.of(
            rig.account(),
            calls=len(waited_ms),
            median=f"{statistics.median(waited_ms or [0.0]):.0f} ms",
            most=f"{worst_ms:.0f} ms",
        )
        is_in_time = worst_ms <= CALLS_WITHIN_S * 1000 or latency_s > 0.02
        return found.but(*unless(is_in_time, f"a call took {worst_ms:.0f} ms"))


def _reset_again_and_again(directory: Path) -> Findings:
    with Rig(directory) as rig:
        producer = rig.produce(rate=RATE, seconds=RESETS * 2)
        for _ in range(RESETS):
            rig.wait(2.0)
            rig.state_network.reset_all()
            rig.producer_network.reset_all()
        rig.wait_for(producer, within_s=60)
        found = settled(rig, resets=RESETS, calls_that_failed=len(rig.failures()))
        return found.but(*unless(not rig.exits, f"{len(rig.exits)} workers ended"))


def _emptied(directory: Path) -> Findings:
    with Rig(directory) as rig:
        producer = rig.produce(rate=RATE, seconds=30)
        rig.wait(10)
        rig.state.flushall()
        rig.state.script_flush()
        emptied_at = time.time()
        back_s = rig.next_delivery(within_s=BACK_WITHIN_S)
        rig.wait_for(producer, within_s=60)
        rig.drain(within_s=60)
        account = rig.account()
        # What was accepted before and not sent yet went with the server: no worker could know of it.
        kept = {each.apns_id for each in rig.accepted() if each.at > emptied_at}
        lost_after = [apns_id for apns_id in account.lost if apns_id in kept]
        problems = (
            *unless(not lost_after, f"{len(lost_after)} accepted afterwards were lost"),
            *unless(account.tokens_per_window == 1, f"{account.tokens_per_window} provider tokens in a window"),
            *unless(not account.unexplained, f"{len(account.unexplained)} repeated"),
        )
        return Findings(
            accepted=account.accepted,
            lost=len(lost_after),
            facts={"gone with the server": len(account.lost), "provider tokens": 1, "back after": f"{back_s:.1f} s"},
            problems=problems,
        )


ROWS: Final = (
    Row(
        number="B1",
        fault=f"SIGKILL and restart of the server {RESTARTS} times under load, append-only file everysec",
        limit="lost 0",
        run=partial(_restarted, end=lambda rig: rig.server.child.kill(), times=RESTARTS),
        otherwise="without persistence all; with snapshots all since the last",
    ),
    Row(
        number="B2",
        fault="SIGTERM and restart of the server under load",
        limit="lost 0",
        run=partial(_restarted, end=_sigterm, times=2),
    ),
    Row(
        number="B4, workers",
        fault=f"black hole of {BLACK_HOLE_S:g} s between workers and server",
        limit=f"lost 0, sending again within {BACK_WITHIN_S:g} s",
        run=partial(_black_hole, way=lambda rig: rig.state_network),
        otherwise="Celery: about 51 s",
    ),
    Row(
        number="B4, producers",
        fault=f"black hole of {BLACK_HOLE_S:g} s between producers and server",
        limit=f"every call fails within {FAILED_WITHIN_S:g} s; made again with its key it is accepted once",
        run=partial(_black_hole, way=lambda rig: rig.producer_network),
        otherwise="a Celery producer hangs for ever",
    ),
    *(
        Row(
            number=f"B5, {latency_ms} ms",
            fault=f"{latency_ms} ms of latency each way, a quarter of it jitter",
            limit="lost 0" + (f", every call at APNs within {CALLS_WITHIN_S * 1000:g} ms" if latency_ms <= 20 else ""),
            run=partial(_slow, latency_s=latency_ms / 1000),
        )
        for latency_ms in (1, 20, 200)
    ),
    Row(
        number="B6",
        fault=f"RST of every connection to the server, {RESETS} times, every 2 s",
        limit="lost 0, repeated 0, no worker ends",
        run=_reset_again_and_again,
    ),
    Row(
        number="B9",
        fault="FLUSHALL, the scripts too, under load",
        limit="one provider token per window; nothing accepted afterwards is lost",
        run=_emptied,
    ),
)
