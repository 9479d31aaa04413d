"""Code that is reached through somebody else's knows until when it may take."""

from __future__ import annotations

from dispatcher import deadline


def test_nobody_gave_a_time() -> None:
    """Then the caller's own counts."""
    assert deadline.remaining_s(7.0) == 7.0


def test_what_is_left_shrinks_to_nothing_and_no_further() -> None:
    """Inside, the time given counts; outside it is forgotten."""
    with deadline.within(60.0):
        assert 59.0 < deadline.remaining_s(7.0) <= 60.0
        with deadline.within(-1.0):
            assert deadline.remaining_s(7.0) == 0.0
        assert deadline.remaining_s(7.0) > 59.0
    assert deadline.remaining_s(7.0) == 7.0
