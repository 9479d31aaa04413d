"""The rules by which a fleet changes provider tokens without talking."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.provider_token import (
    JITTER_S,
    MARGIN_S,
    MIN_CARRY_S,
    WINDOW_S,
    ProviderToken,
    TokenStep,
    decide_step,
    issued_at,
    window_ends_at,
)

#: Apple's limits: "Establishing a token-based connection to APNs".
APPLE_MIN_CHANGE_S = 20 * 60
APPLE_MAX_AGE_S = 60 * 60

#: A present that is the start of a window.
WINDOW_START = 1_000_000 * WINDOW_S

times = st.floats(min_value=0, max_value=4e9, allow_nan=False)
dices = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (WINDOW_START + MARGIN_S, WINDOW_START),
        (WINDOW_START + MARGIN_S - 0.001, WINDOW_START - WINDOW_S),
        (WINDOW_START + WINDOW_S, WINDOW_START),
        (WINDOW_START + WINDOW_S + MARGIN_S, WINDOW_START + WINDOW_S),
    ],
)
def test_a_token_comes_into_use_a_margin_after_its_window_starts(now: float, expected: int) -> None:
    """The token of a window is in use from a minute after the window's start to a minute after its end."""
    assert expected == issued_at(now)


@given(now=times)
def test_the_token_in_use_is_never_from_the_future_and_never_old(now: float) -> None:
    """The token in use is at least a margin and less than a window and a margin old, and its end lies ahead."""
    assert MARGIN_S <= now - issued_at(now) < WINDOW_S + MARGIN_S
    assert issued_at(window_ends_at(now)) == issued_at(now) + WINDOW_S
    assert now < window_ends_at(now)


def test_a_provider_token_does_not_show_its_jwt() -> None:
    """The repr, which ends up in tracebacks, holds no JWT."""
    token = ProviderToken(key_id="KEYID12345", team_id="TEAMID1234", issued_at=0, jwt="header.claims.signature")
    assert "header.claims.signature" not in repr(token)


@pytest.mark.parametrize(
    ("windows_behind", "carried_s", "into_window_s", "expected"),
    [
        (0, 0, 0, TokenStep.KEEP),
        (0, 1799, 1799, TokenStep.KEEP),
        (-1, 10, 1739, TokenStep.KEEP),
        (-2, 10, 100, TokenStep.REPLACE),
        (1, MIN_CARRY_S, 0, TokenStep.CHANGE),
        (1, MIN_CARRY_S - 1, 14, TokenStep.KEEP),
        (1, MIN_CARRY_S - 1, 15, TokenStep.REPLACE),
        (2, 10, 0, TokenStep.REPLACE),
        (3, 7200, 0, TokenStep.CHANGE),
    ],
)
def test_what_a_connection_does_about_its_token(
    windows_behind: int, carried_s: float, into_window_s: float, expected: TokenStep
) -> None:
    """One row per case; the dice of these connections is one half, so their turn comes 15 s after the change."""
    now = WINDOW_START + MARGIN_S + into_window_s
    carried = issued_at(now) - windows_behind * WINDOW_S
    step = decide_step(carried_issued_at=carried, carried_since=now - carried_s, now=now, dice=0.5)
    assert expected is step


@given(carried_since=times, after_s=st.floats(min_value=0, max_value=3 * WINDOW_S), dice=dices)
def test_a_connection_changes_in_place_only_after_apples_twenty_minutes(
    carried_since: float, after_s: float, dice: float
) -> None:
    """Whatever the moment, a change in place comes at least 21 minutes after the first use of the old token."""
    now = carried_since + after_s
    step = decide_step(carried_issued_at=issued_at(carried_since), carried_since=carried_since, now=now, dice=dice)
    assert step is not TokenStep.CHANGE or now - carried_since >= MIN_CARRY_S


@given(carried_since=times, after_s=st.floats(min_value=0, max_value=3 * WINDOW_S), dice=dices)
def test_no_token_is_kept_past_its_window_and_the_jitter(carried_since: float, after_s: float, dice: float) -> None:
    """A token that may still be sent is at most 31 minutes and the jitter old."""
    now = carried_since + after_s
    carried = issued_at(carried_since)
    step = decide_step(carried_issued_at=carried, carried_since=carried_since, now=now, dice=dice)
    assert step is not TokenStep.KEEP or now - carried < WINDOW_S + MARGIN_S + JITTER_S


@dataclass(slots=True, kw_only=True)
class Connection:
    """A connection as Apple sees it: when it first sent each of its tokens."""

    offset_s: float
    dice: float
    seen: list[tuple[float, int]] = field(default_factory=list)

    def send(self, now: float) -> TokenStep:
        """Decide by the host's idea of `now`, remember by the true one."""
        host_now = now + self.offset_s
        if not self.seen:
            self.seen.append((now, issued_at(host_now)))
            return TokenStep.KEEP
        first_sent_at, carried = self.seen[-1]
        step = decide_step(
            carried_issued_at=carried, carried_since=first_sent_at + self.offset_s, now=host_now, dice=self.dice
        )
        if step is TokenStep.CHANGE:
            self.seen.append((now, issued_at(host_now)))
        return step


def open_connection(chance: random.Random) -> Connection:
    """Open a connection of a host whose clock is up to a second off."""
    return Connection(offset_s=chance.uniform(-1, 1), dice=chance.random())


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32 - 1), start=st.integers(min_value=0, max_value=2 * WINDOW_S))
def test_a_fleet_of_forty_connections_stays_within_apples_limits(seed: int, start: int) -> None:
    """Over two hours of busy and idle connections: two tokens at most in use at once, none old, none changed early."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    fleet = [open_connection(chance) for _ in range(40)]
    busy = [chance.choice((1.0, 0.3, 0.01)) for _ in fleet]
    for now in range(WINDOW_START + start, WINDOW_START + start + 4 * WINDOW_S, 5):
        in_use = set()
        for place, connection in enumerate(fleet):
            if chance.random() > busy[place]:
                continue
            if chance.random() < 0.001 or connection.send(now) is TokenStep.REPLACE:
                connection = fleet[place] = open_connection(chance)  # noqa: PLW2901  (the new one takes its place)
                connection.send(now)
            _first_sent_at, carried = connection.seen[-1]
            in_use.add(carried)
            assert 0 <= now - carried < WINDOW_S + MARGIN_S + JITTER_S + 1 < APPLE_MAX_AGE_S
            changes = [sent_at for sent_at, _issued_at in connection.seen]
            assert all(later - earlier > APPLE_MIN_CHANGE_S for earlier, later in itertools.pairwise(changes))
        assert len(in_use) <= 2
