"""How a process spares one of Apple's hosts that is in trouble."""

from __future__ import annotations

import pytest

from workers.endpoint_brake import LONGEST_PAUSE_S, PROBE_LASTS_S, EndpointBrake

NOW = 1000.0


def trouble(brake: EndpointBrake, number: int, *, now: float = NOW, retry_after_s: float | None = None) -> None:
    """Let so many 5xx come."""
    for _ in range(number):
        brake.note_trouble(now, retry_after_s=retry_after_s, dice=0.0)


def closed_brake(*, scale: float = 1.0, retry_after_s: float | None = None) -> EndpointBrake:
    """Return a brake that has just closed for the first time."""
    brake = EndpointBrake(scale)
    trouble(brake, 5, retry_after_s=retry_after_s)
    return brake


def test_a_storm_closes_it() -> None:
    """The fifth 5xx in a row closes it for a second."""
    brake = EndpointBrake(1.0)
    trouble(brake, 4)
    assert not brake.is_closed(NOW)
    trouble(brake, 1)
    assert brake.is_closed(NOW)
    assert brake.wait_s(NOW) == pytest.approx(1.0)


def test_one_device_among_thousands_closes_nothing() -> None:
    """A device whose pushes always fail, or two 5xx in every three answers, leave it open: the last three decide."""
    brake = EndpointBrake(1.0)
    for _ in range(100):
        trouble(brake, 2)
        brake.note_success()
    assert not brake.is_closed(NOW)


def test_three_in_a_row_are_no_storm() -> None:
    """Three 5xx in a row among successes leave it open: five of the last twenty decide."""
    brake = EndpointBrake(1.0)
    for _ in range(20):
        brake.note_success()
    trouble(brake, 3)
    assert not brake.is_closed(NOW)


def test_it_closes_for_longer_each_time() -> None:
    """Every failed probe doubles the time, up to a minute; what was sent before it closed does not."""
    brake, now = closed_brake(), NOW
    for number in range(9):
        pause_s = min(LONGEST_PAUSE_S, 2.0**number)
        trouble(brake, 100, now=now)
        assert brake.wait_s(now) == pytest.approx(pause_s)
        now += pause_s
        assert brake.wait_s(now) == 0, "the probe"
        trouble(brake, 1, now=now)


def test_one_probe_at_a_time() -> None:
    """When it reopens one push goes first; another only when that one got lost, or no answer for a while."""
    brake = closed_brake()
    assert brake.wait_s(NOW + 1) == 0
    assert brake.is_closed(NOW + 1)
    assert brake.wait_s(NOW + 1) == pytest.approx(PROBE_LASTS_S)
    assert brake.wait_s(NOW + 1 + PROBE_LASTS_S) == 0
    brake.note_silence()
    assert brake.wait_s(NOW + 1 + PROBE_LASTS_S) == 0


def test_a_success_opens_it() -> None:
    """One success and everything goes again; the next storm begins at a second."""
    brake = closed_brake()
    trouble(brake, 1, now=NOW + 1)
    brake.note_success()
    assert not brake.is_closed(NOW + 1)
    trouble(brake, 5, now=NOW + 2)
    assert brake.wait_s(NOW + 2) == pytest.approx(1.0)


def test_retry_after_is_honoured() -> None:
    """A Retry-After longer than our own time wins, and development shortens both."""
    assert closed_brake(retry_after_s=7.0).wait_s(NOW) == pytest.approx(7.0)
    assert closed_brake(retry_after_s=7.0, scale=0.1).wait_s(NOW) == pytest.approx(0.7)
