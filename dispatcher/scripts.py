"""The Lua scripts: which pieces each is made of, and how they are read.

A script is its clock, the common words, the words of its subject and its own text. In production the clock is the
server's; in development it can be moved by the key `clock`, so that tests see an hour pass in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from hashlib import sha1
from importlib import resources
from typing import Final

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "put": ("acceptance", "guard"),
    "reserve": ("acceptance", "guard"),
    "claim": ("even_when_full", "claims", "blame"),
    "progress": ("even_when_full", "claims"),
    "settle": ("even_when_full", "claims", "ends"),
    "cancel": ("even_when_full", "claims", "ends"),
    "status": ("claims", "ends"),
    "ended": (),
    "sweep": ("summaries", "requeue"),
    "unpark": ("summaries", "requeue"),
    "lost": ("summaries",),
    "marker_send": (),
    "marker_out": ("even_when_full",),
    "marker_unsent": ("even_when_full",),
    "put_slot": ("acceptance", "guard", "slots"),
    "claim_slots": ("even_when_full", "slots", "slot_leases"),
    "give_back": ("even_when_full", "slots", "slot_leases"),
    "sweep_slots": ("slots", "slot_leases"),
    "unpark_slots": ("slots",),
    "device_online": ("slots",),
    "slot_cancel": ("even_when_full", "slots"),
    "slot_status": ("slots",),
    "rest": (),
    "trim_streams": (),
    "unheard": (),
    "pause": ("even_when_full", "pauses"),
    "resume": ("even_when_full", "pauses"),
    "read_pauses": (),
    "report_trouble": ("even_when_full", "pauses"),
    "take_probe": ("even_when_full", "pauses"),
    "time": (),
}


class Clock(StrEnum):
    """Whose seconds a script counts."""

    SERVER = "server"
    SHIFTED = "shifted"


@cache
def source(name: str, clock: Clock) -> str:
    """Return the whole text of a script."""
    pieces = (f"clock_{clock}", "common", *_WORDS[name], name)
    return "\n".join(_piece(piece) for piece in pieces)


@cache
def sha(name: str, clock: Clock) -> str:
    """Return the name by which the server knows a script."""
    return sha1(source(name, clock).encode(), usedforsecurity=False).hexdigest()


@cache
def _piece(name: str) -> str:
    return resources.files("dispatcher").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
