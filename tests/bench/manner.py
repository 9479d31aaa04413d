"""The two ways in which a server may answer, which cost a sender differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How many pushes are in flight, and how they are answered.

    Attributes:
        name: What it is called in the table.
        in_flight: Pushes in flight, on one connection.
        delay_ms: How long every answer waits.
        spread_ms: How much longer it may wait, drawn for each; 0 to write the answers to one read together.
        aim: What our transport may cost, as a part of what stock aioapns costs.
    """

    name: str
    in_flight: int
    delay_ms: int
    spread_ms: int
    aim: float


BUNCHED: Final = Manner(name="bunched", in_flight=500, delay_ms=0, spread_ms=0, aim=1 / 12)
#: As from Apple: one by one, each in a TLS record of its own.
SINGLE: Final = Manner(name="single", in_flight=1_000, delay_ms=50, spread_ms=100, aim=1 / 8)
