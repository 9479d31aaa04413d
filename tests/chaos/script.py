"""What is done to a fleet, by name, and when: a script made of a seed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher import Lane
from tests.chaos.ledger import Incident
from tests.chaos.proxy import BLACK_HOLE, Network
from tests.chaos.rig import IN_TRANSIT_S, Rig
from workers.lease import LANE_TIMES

_CALM_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that is done.

    Attributes:
        at_s: When, in seconds from the start.
        fault: Its name in `FAULTS`.
    """

    at_s: float
    fault: str


def write(faults: Mapping[str, int], *, seconds: float, seed: int) -> tuple[Step, ...]:
    """Return a script in which each fault comes so often, spread evenly in an order left to chance.

    The first seconds and the last are calm.
    """
    dice = random.Random(seed)  # noqa: S311  (dice, no secrets)
    names = [name for name, times in faults.items() for _ in range(times)]
    dice.shuffle(names)
    share_s = (seconds - 2 * _CALM_S) / max(1, len(names))
    return tuple(
        Step(at_s=_CALM_S + (number + dice.random()) * share_s, fault=name) for number, name in enumerate(names)
    )


def perform(rig: Rig, steps: Sequence[Step]) -> Iterator[Step]:
    """Do everything in its time; yield each step when it is done."""
    begun = time.monotonic()
    for step in steps:
        rig.wait(max(0.0, step.at_s - (time.monotonic() - begun)))
        FAULTS[step.fault](rig)
        yield step


def _kill(rig: Rig) -> None:
    rig.kill(rig.pick())


def _terminate(rig: Rig) -> None:
    rig.terminate(rig.pick())


def _stall(rig: Rig) -> None:
    """Stop a worker of calls for longer than its lease, and let it go on."""
    worker = rig.pick(Lane.VOIP)
    worker.send_signal(signal.SIGSTOP)
    connections, begun = rig.connections_of(worker), time.time()
    rig.wait(LANE_TIMES[Lane.VOIP].lease_s + 2)
    worker.send_signal(signal.SIGCONT)
    rig.incidents.append(
        Incident(cause="stalled worker", begun=begun, ended=time.time() + IN_TRANSIT_S, connections=connections)
    )


def _restart_server(rig: Rig) -> None:
    """Kill the state server, and start it again from its append-only file."""
    rig.during("restart of the state server", 1.0, rig.server.child.kill, rig.server.restart)


def _reset_state(rig: Rig) -> None:
    rig.state_network.reset_all()
    rig.producer_network.reset_all()


def _reset_apns(rig: Rig) -> None:
    rig.during("lost connections to APNs", 0.0, rig.apns_network.reset_all, lambda: None)


def _goaway(rig: Rig) -> None:
    rig.apns.call(rig.apns.simulator.go_away)


def _unavailable(rig: Rig) -> None:
    """Let the simulator answer 503 for a while; nothing is accepted then, so nothing can be repeated."""
    rule = rig.apns.faults.add("service_unavailable")
    rig.wait(2.0)
    rig.apns.faults.remove(rule)


def _bad_network(network: Network, seconds: float) -> Callable[[Rig], None]:
    """Return what makes the way to the state server so for a while, for everybody."""

    def befall(rig: Rig) -> None:
        for proxy in (rig.state_network, rig.producer_network):
            proxy.set(network)
        rig.wait(seconds)
        for proxy in (rig.state_network, rig.producer_network):
            proxy.set(Network())

    return befall


def _black_hole(rig: Rig) -> None:
    rig.during(
        "state server out of reach",
        3.0,
        lambda: rig.state_network.set(Network(hold=BLACK_HOLE)),
        lambda: rig.state_network.set(Network()),
    )


def _reset_broker(rig: Rig) -> None:
    rig.other_broker.reset_all()


def _silent_broker(rig: Rig) -> None:
    """Let the other broker be out of reach; the state server is there, so nothing is repeated."""
    rig.other_broker.set(Network(hold=BLACK_HOLE))
    rig.wait(3.0)
    rig.other_broker.set(Network())


#: What can be done to a fleet. What may repeat a push notes an incident; of all others a repeat is a fault.
FAULTS: Final[Mapping[str, Callable[[Rig], None]]] = {
    "kill": _kill,
    "terminate": _terminate,
    "stall": _stall,
    "restart server": _restart_server,
    "black hole": _black_hole,
    "reset state": _reset_state,
    "slow state": _bad_network(Network(latency_s=0.02, jitter_s=0.01), 3.0),
    "sliced state": _bad_network(Network(piece_bytes=97), 3.0),
    "reset apns": _reset_apns,
    "goaway": _goaway,
    "unavailable": _unavailable,
    "reset broker": _reset_broker,
    "silent broker": _silent_broker,
}
