"""Which provider token is due, and when a connection may change to it.

Every process computes the same token without talking: `iat` is the start of a 30-minute window of the state server's
clock, and signing is deterministic. A window's token comes into use `MARGIN_S` after the window starts, so that no
clock sees it issued in the future. All times are Unix seconds of the state server's clock.

Source: "Establishing a token-based connection to APNs": a token is refused once older than one hour, and a connection
may see a new one at most once per 20 minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

#: How long one provider token is in use.
WINDOW_S: Final = 30 * 60

#: How long after its window starts a token comes into use.
MARGIN_S: Final = 60

#: How long a connection carries a token before it may change it in place: Apple's 20 minutes and one for clocks.
MIN_CARRY_S: Final = 21 * 60

#: Over how long the connections too young to change are replaced, so that a fleet does not reconnect at once.
JITTER_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderToken:
    """A signed JWT and what it was made of.

    Attributes:
        key_id: Its `kid`.
        team_id: Its `iss`.
        issued_at: Its `iat`, Unix seconds; always the start of a window.
        jwt: The compact serialisation; never shown, logged or stored.
    """

    key_id: str
    team_id: str
    issued_at: int
    jwt: str = field(repr=False)


class TokenStep(StrEnum):
    """What a connection does about its provider token before it opens the next stream."""

    KEEP = "keep"
    CHANGE = "change"
    REPLACE = "replace"


def issued_at(now: float) -> int:
    """Return the `iat` of the token in use at `now`."""
    return math.floor((now - MARGIN_S) / WINDOW_S) * WINDOW_S


def window_ends_at(now: float) -> int:
    """Return when the token in use at `now` gives way to the next."""
    return issued_at(now) + WINDOW_S + MARGIN_S


def decide_step(*, carried_issued_at: int, carried_since: float, now: float, dice: float) -> TokenStep:
    """Decide whether a connection keeps its token, changes it in place, or is drained and replaced.

    A connection never goes back to an older token: a clock measured anew may step back over a change. One that is
    further ahead than that was opened under a wrong clock and is replaced.

    Args:
        carried_issued_at: `iat` of the token the connection carries.
        carried_since: When the connection first sent it.
        now: The present.
        dice: From 0 up to 1, drawn once per connection: its place among the replacements.
    """
    windows_behind = (issued_at(now) - carried_issued_at) / WINDOW_S
    if -1 <= windows_behind <= 0:
        return TokenStep.KEEP
    if windows_behind < -1:
        return TokenStep.REPLACE
    if now - carried_since >= MIN_CARRY_S:
        return TokenStep.CHANGE
    carried_until = carried_issued_at + WINDOW_S + MARGIN_S
    return TokenStep.KEEP if now < carried_until + dice * JITTER_S else TokenStep.REPLACE
