"""Random puts, claims, crashes, stalls and returns against a simple model, on a real server."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from dispatcher import record, slots
from dispatcher.notes import Ends
from dispatcher.slots import Slot, SlotReturn

APP = "com.example.app"
SHARD = 5
DEVICES = [f"{number:032x}" for number in range(3)]
LEASE_S = 30.0


class SlotsMachine(RuleBasedStateMachine):
    """Producers put numbered notifications; workers claim, send, die, stall or give back."""

    state: Any
    stored: bytes

    def __init__(self) -> None:
        super().__init__()
        self.state.client.flushall()
        self.number = 0
        self.newest: dict[str, int] = {}
        self.sent: dict[str, list[int]] = defaultdict(list)
        self.crashes = 0
        self.claims: dict[str, tuple[Slot, ...]] = {}

    @rule(device=st.sampled_from(DEVICES))
    def put(self, device: str) -> None:
        """A producer puts a newer notification."""
        self.number += 1
        self.newest[device] = self.number
        self.state.run(slots.put(SHARD, device, str(self.number), self.stored, app=APP, digest=""))

    @rule(most=st.integers(1, 3))
    def claim(self, most: int) -> None:
        """A worker claims due slots, and sends what it got."""
        claim_id = f"claim-{len(self.claims)}-{self.number}-{len(self.sent)}-{self.crashes}"
        claimed = self.state.run(slots.claim(APP, SHARD, claim_id, lease_s=LEASE_S, most=most)).slots
        for slot in claimed:
            assert slot.device not in [held.device for held_by in self.claims.values() for held in held_by], (
                "a leased slot was claimed again"
            )
            self.sent[slot.device].append(int(slot.apns_id))
        if claimed:
            self.claims[claim_id] = claimed

    @precondition(lambda self: self.claims)
    @rule(draw=st.data(), delay_s=st.sampled_from([None, 0.0, 20.0]))
    def give_back(self, draw: st.DataObject, delay_s: float | None) -> None:
        """A worker gives its slots back: delivered, or to be tried again."""
        claim_id = draw.draw(st.sampled_from(sorted(self.claims)))
        claimed = self.claims.pop(claim_id)
        returns = [
            SlotReturn(device=slot.device, apns_id=slot.apns_id, ends=Ends(), delay_s=delay_s, attempts=1)
            for slot in claimed
        ]
        assert self.state.run(slots.give_back(APP, SHARD, claim_id, returns)) == len(claimed)

    @precondition(lambda self: self.claims)
    @rule(draw=st.data())
    def die_and_come_back_late(self, draw: st.DataObject) -> None:
        """A worker dies or stalls past its lease; what it writes afterwards counts for nothing."""
        claim_id = draw.draw(st.sampled_from(sorted(self.claims)))
        claimed = self.claims.pop(claim_id)
        self.crashes += len(claimed) + sum(len(others) for others in self.claims.values())
        self.claims.clear()
        self.state.advance(LEASE_S + 1)
        self.state.run(slots.sweep(SHARD, [APP]))
        returns = [SlotReturn(device=slot.device, apns_id=slot.apns_id, ends=Ends()) for slot in claimed]
        assert self.state.run(slots.give_back(APP, SHARD, claim_id, returns)) == 0

    @precondition(lambda self: not self.claims)
    @rule()
    def wait(self) -> None:
        """Time passes while nobody sends."""
        self.state.advance(10.0)

    @invariant()
    def nothing_old_after_new(self) -> None:
        """No device gets an older notification after a newer one."""
        for numbers in self.sent.values():
            assert numbers == sorted(numbers)

    @invariant()
    def an_occupied_slot_is_held_or_leased(self) -> None:
        """Every occupied slot is in exactly one of the two sets, so no device falls silent."""
        for device in DEVICES:
            slot = self.state.client.exists(f"apns:{{{SHARD:02d}}}:slot:{device}")
            places = [
                self.state.client.zscore(f"apns:{{{SHARD:02d}}}:{name}:{APP}", device) is not None
                for name in ("held", "slot-leased")
            ]
            assert sum(places) == slot

    def teardown(self) -> None:
        """In the end every device has had its newest notification, and no key is left."""
        for claim_id, claimed in self.claims.items():
            returns = [SlotReturn(device=slot.device, apns_id=slot.apns_id, ends=Ends()) for slot in claimed]
            self.state.run(slots.give_back(APP, SHARD, claim_id, returns))
        self.claims = {}
        self.state.advance(LEASE_S)
        while claimed := self.state.run(slots.claim(APP, SHARD, "last", lease_s=LEASE_S, most=9)).slots:
            self.sent.update({slot.device: [*self.sent[slot.device], int(slot.apns_id)] for slot in claimed})
            returns = [SlotReturn(device=slot.device, apns_id=slot.apns_id, ends=Ends()) for slot in claimed]
            self.state.run(slots.give_back(APP, SHARD, "last", returns))
        assert {device: numbers[-1] for device, numbers in self.sent.items()} == self.newest
        assert self.state.keys() == set()
        super().teardown()


@pytest.mark.parametrize("report", ["failures"])
def test_slots_behave_like_the_model(state: Any, quiet_record: Any, report: str) -> None:
    """Whatever producers and workers do, the newest is sent last and no device falls silent."""
    machine = type("Machine", (SlotsMachine,), {"state": state, "stored": record.encode(quiet_record(report=report))})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        ),
    )
