"""A claim is acted on only as long as it certainly holds."""

from __future__ import annotations

import pytest

from dispatcher.push_types import Lane
from workers.lease import LANE_TIMES, LaneTimes, Lease

TIMES = LaneTimes(lease_s=30.0, deadline_s=10.0)


class Monotonic:
    """A monotonic clock set by hand.

    Attributes:
        now: What it shows, in seconds.
    """

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the present."""
        return self.now


@pytest.fixture
def clock() -> Monotonic:
    """Return a clock."""
    return Monotonic()


@pytest.mark.parametrize(("after_s", "may_open"), [(0.0, True), (20.0, True), (20.001, False), (31.0, False)])
def test_a_stream_opens_only_if_its_answer_comes_in_time(clock: Monotonic, after_s: float, may_open: bool) -> None:  # noqa: FBT001
    """No stream is opened later than a push's deadline before the lease ends."""
    lease = Lease(TIMES, clock)
    clock.now += after_s
    assert lease.may_open() is may_open


def test_a_renewed_lease_counts_from_when_it_was_asked_for(clock: Monotonic) -> None:
    """A slow answer to a renewal makes the lease no longer than the state server thinks it is."""
    lease = Lease(TIMES, clock)
    asked_at = clock.now + 15
    clock.now += 25
    assert not lease.may_open()
    lease.renew(asked_at)
    assert lease.may_open()
    clock.now = asked_at + 20.001
    assert not lease.may_open()


def test_a_lost_lease_stays_lost(clock: Monotonic) -> None:
    """Once somebody else has the claim nothing leaves under it, and no renewal brings it back."""
    lease = Lease(TIMES, clock)
    lease.lose()
    assert not lease.may_open()
    lease.renew(clock.now)
    assert not lease.may_open()


@pytest.mark.parametrize("lane", Lane)
def test_every_lane_has_room_to_send(lane: Lane) -> None:
    """In every lane a lease is longer than a push's deadline, and is renewed before it ends."""
    times = LANE_TIMES[lane]
    assert times.deadline_s < times.lease_s
    assert Lease(times, lambda: 0.0).renew_every_s + times.progress_s < times.lease_s


def test_calls_are_noted_one_by_one() -> None:
    """The lane of calls notes each answer by itself."""
    assert LANE_TIMES[Lane.VOIP] == LaneTimes(lease_s=7.0, deadline_s=5.0, is_call=True, hold_s=1.0, progress_answers=1)
    assert LANE_TIMES[Lane.ALERT] == LANE_TIMES[Lane.BACKGROUND] == LaneTimes(lease_s=30.0)
