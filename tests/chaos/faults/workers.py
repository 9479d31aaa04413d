"""R: workers that die, stop or stall."""

from __future__ import annotations

import signal
import statistics
import time
from pathlib import Path
from typing import Final

from dispatcher import Lane, Outcome
from dispatcher.dev.children import Child, poll
from tests.chaos.handing_over import hands_over
from tests.chaos.ledger import Incident
from tests.chaos.producer import BULK_SIZE
from tests.chaos.profiles import Profile, run
from tests.chaos.proxy import Network
from tests.chaos.rig import IN_TRANSIT_S, TERMINATED_WITHIN_S, Rig
from tests.chaos.rows import Findings, Row, settled, unless
from workers.lease import LANE_TIMES

IN_FLIGHT: Final = 200
RATE: Final = 130.0
TERMINATIONS: Final = 20
EXITS: Final = 3
KILLS: Final = 20


def hold_answers(rig: Rig) -> Child:
    """Let alerts be in flight in the only worker, their answers held back; return the worker."""
    sender, (worker,) = rig.sender(), rig.workers
    for _ in range(IN_FLIGHT // BULK_SIZE):
        sender.bulk()  # so that later as many may be in flight
    rig.drain(within_s=30)
    warm = rig.arrivals()
    rig.apns.call(rig.apns.simulator.switches.hold.set)
    for _ in range(IN_FLIGHT // BULK_SIZE):
        sender.bulk()
    assert poll(lambda: rig.arrivals() == warm + IN_FLIGHT, within_s=20), rig.describe()
    return worker


def _killed_under_load(directory: Path) -> Findings:
    profile = Profile(name="R1", seconds=KILLS * 6, rate=RATE, faults={"kill": KILLS}, drained_within_s=90)
    result = run(profile, directory, seed=1)
    most = max(result.kill_repeats, default=0)
    return Findings.of(result.account, kills=KILLS, repeated_per_kill_at_most=most, unheard=result.account.unheard)


def _killed_at_the_hand_over(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        (worker,) = rig.workers
        handed_over = rig.state_network.hold_once(hands_over("apns.alert"))
        rig.sender().alert()
        assert handed_over.wait(10), "no message was handed over"
        left = rig.state.llen("apns.alert")
        rig.kill(worker)
        rig.state_network.set(Network())
        found = settled(rig, left_in_the_queue=left)
        return found.but(*unless(found.duplicated == 0 and left == 0, "the moment was missed"))


def _killed_before_it_hears(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        worker = hold_answers(rig)
        rig.kill(worker)
        rig.apns.call(rig.apns.simulator.switches.hold.clear)
        found = settled(rig)
        return found.but(*unless(found.duplicated == IN_FLIGHT, f"{found.duplicated} of {IN_FLIGHT} repeated"))


def _terminated_under_load(directory: Path) -> Findings:
    with Rig(directory) as rig:
        producer = rig.produce(rate=RATE, seconds=40)
        took_s = []
        for _ in range(TERMINATIONS):
            rig.wait(1.5)
            took_s.append(rig.terminate(rig.pick()))
        rig.wait_for(producer, within_s=60)
        slowest = f"{max(took_s):.1f} s, median {statistics.median(took_s):.1f} s"
        found = settled(rig, terminated=TERMINATIONS, slowest=slowest)
        return found.but(*unless(found.duplicated == 0, f"{found.duplicated} repeated"))


def _terminated_while_nothing_is_answered(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        worker = hold_answers(rig)
        connections, begun = rig.connections_of(worker), time.time()
        took_s = rig.terminate(worker)
        ended = time.time() + IN_TRANSIT_S
        # What was never answered may have arrived or not: only Apple knows, and it is sent again.
        rig.incidents.append(Incident(cause="no answer", begun=begun - 10, ended=ended, connections=connections))
        rig.apns.call(rig.apns.simulator.switches.hold.clear)
        return settled(rig, took=f"{took_s:.1f} s of {TERMINATED_WITHIN_S:g}")


def _stalled_beyond_its_lease(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.VOIP, Lane.VOIP]) as rig:
        sender = rig.sender()
        for _ in range(IN_FLIGHT):
            sender.call()
        victim = rig.pick()
        rig.apns.call(rig.apns.simulator.switches.hold.set)
        for _ in range(20):
            sender.call()
        connections, begun = rig.connections_of(victim), time.time()
        victim.send_signal(signal.SIGSTOP)
        rig.apns.call(rig.apns.simulator.switches.hold.clear)
        rig.wait(LANE_TIMES[Lane.VOIP].lease_s + 2)
        victim.send_signal(signal.SIGCONT)
        ended = time.time() + IN_TRANSIT_S
        rig.incidents.append(Incident(cause="stalled worker", begun=begun, ended=ended, connections=connections))
        found = settled(rig, stalled=f"{ended - begun - IN_TRANSIT_S:.0f} s")
        return found.but(*unless(found.duplicated <= 20, f"{found.duplicated} repeated, 20 were in flight"))


def _exits_inside_a_send(directory: Path) -> Findings:
    with Rig(directory, lanes=[]) as rig:
        sender = rig.sender()
        for _ in range(EXITS):
            worker = rig.start_worker(Lane.ALERT, app="tests.chaos.exiting")
            rig.wait_until_ready(worker)
            for _ in range(10):
                sender.alert()
            rig.wait_for_end(worker)
        rig.start_worker(Lane.ALERT)
        rig.drain(within_s=60)
        account = rig.account()
        found = Findings.of(account, exits=len(rig.exits))
        return found.but(*unless(set(account.outcomes) == {Outcome.DELIVERED}, f"ended {dict(account.outcomes)}"))


ROWS: Final = (
    Row(
        number="R1",
        fault=f"SIGKILL of any worker under load, {KILLS} times; 60 times in the profile chaos",
        limit="lost 0, repeated only what a killed worker had in flight or had just heard",
        run=_killed_under_load,
        otherwise="Celery loses 0.30 per kill",
    ),
    Row(
        number="R2",
        fault="SIGKILL between the broker's hand-over and the worker's first word",
        limit="lost 0, repeated 0",
        run=_killed_at_the_hand_over,
        otherwise="Celery loses 1 of 1",
    ),
    Row(
        number="R3",
        fault=f"SIGKILL with {IN_FLIGHT} pushes judged by Apple and not yet answered",
        limit="lost 0, each of them repeated once under its apns id",
        run=_killed_before_it_hears,
    ),
    Row(
        number="R4",
        fault=f"SIGTERM {TERMINATIONS} times under load, in whatever phase",
        limit=f"lost 0, repeated 0, each exit within {TERMINATED_WITHIN_S:g} s",
        run=_terminated_under_load,
        otherwise="Celery's prefork pool: 32 s",
    ),
    Row(
        number="R4, silent",
        fault=f"SIGTERM with {IN_FLIGHT} pushes that nobody answers",
        limit=f"lost 0, exit within {TERMINATED_WITHIN_S:g} s",
        run=_terminated_while_nothing_is_answered,
    ),
    Row(
        number="R5",
        fault="SIGSTOP of a worker for longer than its lease, then SIGCONT",
        limit="lost 0, repeated at most what it had in flight",
        run=_stalled_beyond_its_lease,
    ),
    Row(
        number="R6",
        fault=f"os._exit inside a send, {EXITS} times",
        limit="lost 0, all delivered by whoever comes next",
        run=_exits_inside_a_send,
    ),
)
