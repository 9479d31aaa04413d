"""The Lua scripts are whole, say their contract, and are the same text for every process."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import pytest

from dispatcher import ids, lookup, outbox, pausing, scripts, slots, streams, sweeping
from dispatcher.notes import Notes
from dispatcher.outbox import Times
from dispatcher.pausing import PausedBy, Scope
from dispatcher.push_types import Lane
from dispatcher.scripts import Clock
from dispatcher.slot_values import SlotTerms
from dispatcher.state_call import StateCall

LUA = {file.name.removesuffix(".lua"): file for file in resources.files("dispatcher").joinpath("lua").iterdir()}
BATCH_ID = ids.new_batch_id(3, bytes(16))
APP = "com.example.app"
QUEUE = "apns.alert"

CALLS: list[StateCall[Any]] = [
    outbox.put(BATCH_ID, b"", app=APP, lane=Lane.ALERT, queue=QUEUE, count=1, digest=""),
    outbox.claim(BATCH_ID, "one", lane=Lane.ALERT, queue=QUEUE, lease_s=1),
    outbox.progress(BATCH_ID, "one", Notes(), app=APP, lane=Lane.ALERT, lease_s=1, size=1, number=1),
    outbox.settle(BATCH_ID, "one", Notes(), app=APP, lane=Lane.ALERT, size=1),
    sweeping.sweep(3, Lane.VOIP),
    sweeping.unpark(3, APP, Lane.ALERT, before=0.0, most=1),
    sweeping.lost(3, QUEUE, 0.0),
    sweeping.send_marker(QUEUE, patience_s=1, longest_patience_s=1),
    sweeping.marker_out(QUEUE, "0"),
    sweeping.marker_unsent(QUEUE, "0"),
    outbox.time(),
    outbox.reserve(BATCH_ID, digest="", window_s=1, times=Times()),
    lookup.cancel(BATCH_ID, 0),
    lookup.status(BATCH_ID, 0),
    lookup.ended(3, BATCH_ID),
    slots.put(3, "d", BATCH_ID, b"", app=APP, terms=SlotTerms(), digest="", window_s=1),
    slots.claim(APP, 3, "one", lease_s=1, most=1),
    slots.give_back(APP, 3, "one", []),
    slots.sweep(3, [APP]),
    slots.rest(APP, 3),
    streams.trim(3, [APP]),
    streams.unheard(3, [APP]),
    streams.may_call_task(APP),
    slots.unpark(3, APP, before=0.0, most=1),
    slots.device_online(3, "d", app=APP, fetched=False),
    slots.cancel(3, BATCH_ID),
    slots.status(3, BATCH_ID),
    pausing.pause(Scope(app=APP), "operator"),
    pausing.resume(Scope(app=APP), by=PausedBy.WORKERS),
    pausing.read(),
    pausing.report_trouble(Scope(app=APP), "host", "BadTopic", is_certain=False, first_probe_s=1),
    pausing.take_probe(Scope(app=APP), first_s=1, longest_s=1),
]


def names_after(word: str, text: str) -> list[str]:
    """Return what a script's comment lists after KEYS or ARGV."""
    found = re.search(rf"^-- {word} (.*)$", text, re.MULTILINE)
    return re.sub(r"JSON .*", "JSON", found[1]).split(", ") if found else []


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.script)
def test_a_call_gives_what_its_script_asks_for(call: StateCall[Any]) -> None:
    """Each call has as many keys and arguments as the script says; the last key is the clock's, added at the door."""
    text = LUA[call.script].read_text()
    keys = names_after("KEYS", text)
    assert "clock" in keys[-1]
    if not any("then" in name or "per" in name for name in [*keys, *names_after("ARGV", text)]):
        assert (len(call.keys), len(call.args)) == (len(keys) - 1, len(names_after("ARGV", text)))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.script)
def test_a_call_stays_in_one_shard(call: StateCall[Any]) -> None:
    """All keys of a call have its shard's hash tag, so that it runs on a cluster."""
    assert all(f"{{{call.shard:02d}}}" in key for key in call.keys)


def test_every_script_is_called() -> None:
    """No script is without a call, and no piece of one without a script."""
    pieces = {"common", *(f"clock_{clock}" for clock in Clock)}
    used = "\n".join(scripts.source(call.script, clock) for call in CALLS for clock in Clock)
    assert {name for name, file in LUA.items() if file.read_text() not in used} == set()
    assert pieces | {call.script for call in CALLS} <= set(LUA)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.script)
def test_production_cannot_be_moved_in_time(call: StateCall[Any]) -> None:
    """The text that runs in production never looks at the movable clock; that of development does."""
    moved, server = (scripts.source(call.script, clock) for clock in (Clock.SHIFTED, Clock.SERVER))
    assert LUA["clock_shifted"].read_text() in moved
    assert LUA["clock_shifted"].read_text() not in server
    assert "KEYS[#KEYS]" not in server


@pytest.mark.parametrize("name", sorted(LUA))
def test_scripts_are_deterministic_and_local(name: str) -> None:
    """No script draws random numbers, scans the server or keeps global variables."""
    text = LUA[name].read_text()
    assert not re.search(r"math\.random|'(KEYS|SCAN|FLUSHALL|FLUSHDB|RANDOMKEY)'", text)
    assert not re.search(r"^(?!local )(function \w+|\w+ = )", text, re.MULTILINE)
