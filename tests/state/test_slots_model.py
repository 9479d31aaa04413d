"""Random producers, workers, crashes and stalls against a simple model, on a real server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import product
from operator import methodcaller
from random import Random
from time import time
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from dispatcher import redis_keys, slots
from dispatcher.feedback import Outcome
from dispatcher.notes import Ends
from dispatcher.outbox import Acceptance
from dispatcher.push_types import Lane
from dispatcher.slot_values import SlotReturn, SlotTerms
from dispatcher.state_call import StateCall
from tests.state.slot_words import stored_once
from tests.state.slots_model import HOUR_S, PER_HOUR, Lease, Model

ReplyT = TypeVar("ReplyT")

APP: Final = "com.example.app"
SHARD: Final = 5
DEVICES: Final = [f"{number:032x}" for number in range(2)]
LEASE_S: Final = 30.0
SPACING_S: Final = HOUR_S / PER_HOUR
#: How a worker's try ends: (has ended, used the budget, delay in seconds, parked), for what left and for what did not.
SENT: Final = [
    (True, True, 0.0, False),
    (True, True, 0.0, False),
    (False, True, 5.0, False),
    (False, False, 60.0, False),
    (True, False, 0.0, False),
]
UNSENT: Final = [(False, False, 0.0, False), (False, False, 3.0, False), (False, False, 0.0, True)]
EXPIRED: Final = [(True, False, 0.0, False)]
#: Longer than a notification may be held up by its own terms, its device's budget or a retry.
LONGEST_WAIT_S: Final = 2000.0
OPERATIONS: Final = 20_000
STEPS: Final = 100
EXAMPLES: Final = 220
IS_LONG: Final = os.environ.get("APNS_LONG") == "1"

Operation = Callable[["World"], None]


def variants(operation: str, **choices: Sequence[Any]) -> list[Operation]:
    """Return one operation of the world with every combination of its arguments."""
    combinations = product(*choices.values())
    return [methodcaller(operation, **dict(zip(choices, chosen, strict=True))) for chosen in combinations]


WAIT: Final = variants("wait", seconds=[1.0, 28.0, 31.0, 407.0, 1175.0, 1175.0, 1201.0])
PUT: Final = variants(
    "put",
    name=DEVICES,
    hold_for=[0.0, 0.0, 0.0, 100.0],
    expires_in=[None, None, None, 50.0, 1500.0],
    later_s=[None, None, None, None, 200.0],
    lag=[None, 0, 0, 1, 5],
)
CLAIM: Final = variants("claim", most=[1, 2, 4])
SEND: Final = variants("send", choice=range(5))
GIVE_BACK: Final = variants("give_back", choice=range(5), how=range(len(SENT) * len(UNSENT)))
WORK: Final = variants("work")
DIE_LATE: Final = variants("die_late")
DIE: Final = variants("die", choice=range(5))
ONLINE: Final = variants("device_online", name=DEVICES, fetched=[False, True])
CANCEL: Final = variants("cancel", back=range(5))
UNPARK: Final = variants("unpark")
OFTEN: Final = [WAIT, PUT, WORK, PUT, CLAIM, SEND, GIVE_BACK]
KINDS: Final = [*OFTEN * 3, DIE, DIE_LATE, DIE_LATE, ONLINE, CANCEL, UNPARK]


def program(seed: int, kept: Sequence[bool]) -> list[Operation]:
    """Return random operations, of which some are left out: hypothesis shortens a failure by leaving out more.

    Operations that hypothesis itself draws come in runs of the same, in which little happens.
    """
    dice = Random(seed)  # noqa: S311  no secret
    operations = [dice.choice(dice.choice(KINDS)) for _ in kept]
    return [operation for operation, is_kept in zip(operations, kept, strict=True) if is_kept]


class World:
    """Producers put numbered notifications; workers claim, send, die, stall or give back; apps are launched.

    Every method is an operation; one that has nothing to work on does nothing.
    """

    def __init__(self, state: Any, stored: bytes) -> None:
        self.state = state
        self.stored = stored
        self.state.client.flushall()
        self.ahead_s = 0.0
        self.model = Model(DEVICES)
        self.owners: dict[int, str] = {}
        self.claims = 0
        self.leases: list[Lease] = []
        self.operations = 0

    @property
    def now(self) -> float:
        """The state server's clock: it runs on this host."""
        return time() + self.ahead_s

    def put(self, name: str, hold_for: float, expires_in: float | None, later_s: float | None, lag: int | None) -> None:
        """A producer puts a notification, with a version that may be late, or with none."""
        number = len(self.owners) + 1
        self.owners[number] = name
        terms = SlotTerms(
            spacing_s=SPACING_S,
            hold_for=hold_for,
            expires_in=expires_in,
            send_at=None if later_s is None else self.now + later_s,
            version=None if lag is None else number - lag,
        )
        put = self.run(slots.put(SHARD, name, str(number), self.stored, app=APP, terms=terms, digest="", window_s=1))
        assert put.acceptance is Acceptance.ACCEPTED
        assert (put.replaced, put.superseded) == self.model.put(name, number, terms)

    def claim(self, most: int) -> None:
        """A worker claims due slots: what died with another one comes alone."""
        self.sweep()
        self.claims += 1
        claim_id = f"claim-{self.claims}"
        claimed = self.run(slots.claim(APP, SHARD, claim_id, lease_s=LEASE_S, most=most))
        assert len(claimed.slots) == 1 or all(slot.crashes == 0 for slot in claimed.slots)
        for slot in claimed.slots:
            self.leases.append(self.model.claim(claim_id, slot, now=claimed.now, lease_s=LEASE_S))

    def send(self, choice: int) -> None:
        """A worker sends what it holds, at any time of its lease but never later."""
        if sendable := self.sendable():
            self.model.send(sendable[choice % len(sendable)], self.now)

    def give_back(self, choice: int, how: int) -> None:
        """A worker tells what became of a slot; one that stalled past its lease may have lost it."""
        if self.leases:
            self.give_back_lease(self.leases.pop(choice % len(self.leases)), how)

    def work(self) -> None:
        """A worker does everything as it should."""
        before = len(self.leases)
        self.claim(most=len(DEVICES))
        for lease in self.leases[before:]:
            if not lease.has_expired:
                self.model.send(lease, self.now)
            self.give_back_lease(lease, 0)
        del self.leases[before:]

    def die_late(self) -> None:
        """A worker sends at the end of its lease, and dies."""
        before = len(self.leases)
        self.claim(most=len(DEVICES))
        self.wait(LEASE_S - 1)
        for lease in self.leases[before:]:
            if not lease.has_expired:
                self.model.send(lease, self.now)
        del self.leases[before:]

    def die(self, choice: int) -> None:
        """A worker dies: nobody tells what became of its slot."""
        if self.leases:
            self.leases.pop(choice % len(self.leases))

    def device_online(self, name: str, *, fetched: bool) -> None:
        """The app is launched on a device."""
        online = self.run(slots.device_online(SHARD, name, app=APP, fetched=fetched))
        assert online.released == self.model.online(name, fetched=fetched)

    def cancel(self, back: int) -> None:
        """The app cancels one of its last notifications."""
        if self.owners:
            number = max(1, len(self.owners) - back)
            answer = self.run(slots.cancel(SHARD, str(number)))
            assert answer in self.model.cancel(self.owners[number], number)

    def unpark(self) -> None:
        """The pause is over."""
        self.run(slots.unpark(SHARD, APP, before=float("inf"), most=100))
        for device in self.model.devices.values():
            device.is_parked = False

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.ahead_s += seconds
        self.state.client.incrbyfloat(redis_keys.clock(SHARD), seconds)

    def check_places(self) -> None:
        """Every occupied slot is held, leased or parked, and in only one of the three, so that none is forgotten."""
        pipeline = self.state.client.pipeline(transaction=False)
        for name in DEVICES:
            pipeline.exists(redis_keys.slot(SHARD, name))
            for key in (redis_keys.held, redis_keys.slot_leased, redis_keys.slot_parked):
                pipeline.zscore(key(SHARD, APP), name)
        replies = pipeline.execute()
        for at, device in enumerate(self.model.devices.values()):
            exists, held, leased, parked = replies[4 * at : 4 * at + 4]
            places = (held is not None, leased is not None, parked is not None)
            is_sending = device.sending is not None
            is_held = not is_sending and device.newest is not None and not device.is_parked
            assert places == (is_held, is_sending, device.is_parked)
            assert exists == any(places)

    def end(self) -> None:
        """In the end every device has had its newest notification, each has ended once, and no key is left."""
        self.unpark()
        for _ in range(6):
            self.wait(LONGEST_WAIT_S)
            self.sweep()
            while self.is_due():
                self.work()
            self.work()
        self.model.check_order()
        self.model.check_budget()
        assert set(self.owners) == self.model.ended
        assert self.state.keys() == set()
        self.check_counters()

    def check_counters(self) -> None:
        """Every notification was accepted once and ended once."""
        counted = self.state.counters()
        ends = [counted[redis_keys.counter(outcome, APP, Lane.BACKGROUND)] for outcome in Outcome]
        assert counted[redis_keys.counter("accepted", APP, Lane.BACKGROUND)] == sum(ends) == len(self.owners)

    def run(self, call: StateCall[ReplyT]) -> ReplyT:
        """Run a call, and count it."""
        self.operations += 1
        reply: ReplyT = self.state.run(call)
        return reply

    def sweep(self) -> None:
        """Take back what dead and stalled workers hold."""
        self.run(slots.sweep(SHARD, [APP]))
        self.model.take_back(self.now)

    def sendable(self) -> list[Lease]:
        """Return what may be sent now."""
        return [
            lease for lease in self.leases if lease.sent_at is None and not lease.has_expired and self.now < lease.ends
        ]

    def is_due(self) -> bool:
        """Tell whether a worker would find anything."""
        return bool(self.state.client.zcount(redis_keys.held(SHARD, APP), "-inf", self.now))

    def give_back_lease(self, lease: Lease, how: int) -> None:
        """Tell what became of a slot."""
        hows = EXPIRED if lease.has_expired else UNSENT if lease.sent_at is None else SENT
        has_ended, counts, delay_s, is_parked = hows[how % len(hows)]
        ends = Ends()
        if has_ended:
            outcome = Outcome.DELIVERED if counts else Outcome.REFUSED
            ends.add(redis_keys.counter(outcome, APP, Lane.BACKGROUND))
        item = SlotReturn(
            device=lease.device,
            apns_id=str(lease.number),
            ends=ends,
            counts=counts,
            delay_s=None if has_ended or is_parked else delay_s,
            is_parked=is_parked,
        )
        ours = self.run(slots.give_back(APP, SHARD, lease.claim_id, [item]))
        noted = self.model.give_back(
            lease, now=self.now, has_ended=has_ended, counts=counts, delay_s=delay_s, is_parked=is_parked
        )
        assert bool(ours) == noted


@pytest.mark.timeout(3600 if IS_LONG else 240)
def test_slots_behave_like_the_model(state: Any, quiet_record: Any) -> None:
    """Whatever producers and workers do, the newest is sent last, within the budget, and no device falls silent."""
    stored, operations = stored_once(quiet_record(report="failures")), 0

    @settings(
        max_examples=(10 if IS_LONG else 1) * EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32), kept=st.lists(st.booleans(), min_size=2 * STEPS, max_size=2 * STEPS))
    def run(seed: int, kept: list[bool]) -> None:
        nonlocal operations
        world, steps = World(state, stored), program(seed, kept)
        note("\n".join(map(str, steps)))
        for step in steps:
            step(world)
            world.check_places()
        world.end()
        operations += world.operations

    run()
    assert operations >= OPERATIONS
