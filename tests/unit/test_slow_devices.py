"""Which devices are left alone, and for how long."""

from __future__ import annotations

from workers.slow_devices import MOST_REMEMBERED, SlowDevices


def test_only_the_slowed_device_waits() -> None:
    """A slowed device waits for the rest of its time and then no more; others never do."""
    slow = SlowDevices()
    assert slow.wait_s("aa", 100.0) == 0.0
    slow.slow_down("aa", 160.0)
    assert (slow.wait_s("aa", 100.0), slow.wait_s("aa", 150.0), slow.wait_s("bb", 100.0)) == (60.0, 10.0, 0.0)
    assert (slow.wait_s("aa", 160.0), slow.wait_s("aa", 100.0)) == (0.0, 0.0)


def test_a_shorter_time_shortens_nothing() -> None:
    """The longest time that was named holds."""
    slow = SlowDevices()
    slow.slow_down("aa", 160.0)
    slow.slow_down("aa", 130.0)
    assert slow.wait_s("aa", 140.0) == 20.0


def test_memory_is_bounded() -> None:
    """Of very many devices the one that was slowed longest ago is forgotten first."""
    slow = SlowDevices()
    for number in range(MOST_REMEMBERED + 1):
        slow.slow_down(f"{number:08x}", 160.0)
    assert slow.wait_s(f"{0:08x}", 100.0) == 0.0
    assert slow.wait_s(f"{1:08x}", 100.0) == slow.wait_s(f"{MOST_REMEMBERED:08x}", 100.0) == 60.0
