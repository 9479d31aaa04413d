"""What each push type demands of its payload, beyond the cases that a whole notification is tested with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import payload_rules
from dispatcher.payload_rules import PayloadRule
from dispatcher.push_types import PUSH_TYPES

START: Mapping[str, Any] = {
    "event": "start",
    "timestamp": 1,
    "content-state": {},
    "attributes-type": "Score",
    "attributes": {},
    "alert": {"title": "hi"},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def broken(rule: PayloadRule, payload: Mapping[str, Any]) -> list[str]:
    """Return the fields whose rules a payload breaks."""
    return [field for field, _ in rule(payload)]


@pytest.mark.parametrize("aps", [{"alert": "hi"}, {"badge": 0}, {"sound": "ping"}, {"alert": "hi", "badge": None}])
def test_an_alert_shows_or_sounds(aps: Mapping[str, Any]) -> None:
    """Any one of text, number and sound makes an alert."""
    assert broken(payload_rules.alert_payload, {"aps": aps}) == []


def test_an_alert_may_break_two_rules() -> None:
    """All broken rules are found, not only the first."""
    assert broken(payload_rules.alert_payload, {"aps": {"badge": "3"}}) == ["payload.aps.badge"]
    assert broken(payload_rules.live_activity_payload, {"aps": {}}) == ["payload.aps.event", "payload.aps.timestamp"]


@pytest.mark.parametrize("aps", [{"content-available": 1, "sound": ""}, {"content-available": 0}, {}, [], None])
def test_a_background_push_is_silent(aps: object) -> None:
    """Nothing but `content-available: 1` may stand in the `aps` of a background push."""
    assert broken(payload_rules.background_payload, {"aps": aps}) == ["payload.aps"]
    assert broken(payload_rules.background_payload, {"aps": {"content-available": 1}, "more": aps}) == []


@pytest.mark.parametrize("missing", ["content-state", "attributes-type", "attributes", "alert"])
def test_starting_a_live_activity_needs_everything(missing: str) -> None:
    """Each key that a start needs is named when it is missing."""
    aps = {name: value for name, value in START.items() if name != missing}
    assert broken(payload_rules.live_activity_payload, {"aps": START}) == []
    assert broken(payload_rules.live_activity_payload, {"aps": aps}) == [f"payload.aps.{missing}"]


def test_updates_need_a_state_and_ends_need_none() -> None:
    """An update without new state is refused; an activity may end without."""
    update, end = ({"aps": {"event": event, "timestamp": 1}} for event in ("update", "end"))
    assert broken(payload_rules.live_activity_payload, update) == ["payload.aps.content-state"]
    assert broken(payload_rules.live_activity_payload, end) == []


@pytest.mark.parametrize("timestamp", ["1", 1.5, True, None])
def test_timestamps_are_whole_seconds(timestamp: object) -> None:
    """The timestamp of a Live Activity is a whole number."""
    payload = {"aps": {"event": "end", "timestamp": timestamp}}
    assert broken(payload_rules.live_activity_payload, payload) == ["payload.aps.timestamp"]


@pytest.mark.parametrize("magic", [None, 7, {"PushMagic": "x"}])
def test_push_magic_is_text(magic: object) -> None:
    """Device management needs the push magic as text."""
    assert broken(payload_rules.mdm_payload, {"mdm": magic}) == ["payload.mdm"]
    assert broken(payload_rules.mdm_payload, {"mdm": "magic"}) == []


@pytest.mark.parametrize("push_type", ["voip", "pushtotalk", "complication", "fileprovider", "location"])
def test_some_payloads_are_the_apps_own(push_type: str) -> None:
    """Where Apple asks nothing of a payload, nothing is asked: not even `aps`."""
    assert broken(PUSH_TYPES[push_type].payload_rule, {}) == []


@given(st.sampled_from(list(PUSH_TYPES)), st.dictionaries(st.text(max_size=3) | st.just("aps"), json_values))
def test_rules_never_crash(push_type: str, payload: dict[str, Any]) -> None:
    """Whatever JSON object comes, each rule answers with fields of the payload and a sentence."""
    for field, rule in PUSH_TYPES[push_type].payload_rule(payload):
        assert field.startswith("payload.")
        assert rule
