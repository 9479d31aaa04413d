"""Every push type has its lane, every lane its queues, and a message says which it is."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import ids, routing
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.routing import BULK_QUEUE, LANE_QUEUES, MARKER_TASK, QUEUE_LANES

LANES = {
    "voip": Lane.VOIP,
    "pushtotalk": Lane.VOIP,
    "background": Lane.BACKGROUND,
    "widgets": Lane.BACKGROUND,
    "controls": Lane.BACKGROUND,
    "complication": Lane.BACKGROUND,
    "fileprovider": Lane.BACKGROUND,
    "alert": Lane.ALERT,
    "liveactivity": Lane.ALERT,
    "location": Lane.ALERT,
    "mdm": Lane.ALERT,
}


def test_every_push_type_has_its_lane() -> None:
    """Calls, background work and what people see travel apart."""
    assert {name: row.lane for name, row in PUSH_TYPES.items()} == LANES


@pytest.mark.parametrize("lane", Lane)
def test_a_lanes_queue_has_its_tasks_name(lane: Lane) -> None:
    """A lane's task and its queue for single notifications have the same name."""
    assert routing.task_name(lane) == routing.single_queue(lane) == f"apns.{lane}"


def test_only_alerts_have_a_queue_for_campaigns() -> None:
    """Alerts sent in bulk ride in a queue of their own, everything else in its lane's."""
    assert {lane: routing.bulk_queue(lane) for lane in Lane} == {
        Lane.VOIP: "apns.voip",
        Lane.ALERT: BULK_QUEUE,
        Lane.BACKGROUND: "apns.background",
    }


def test_queues_lead_back_to_their_lane() -> None:
    """Every queue belongs to one lane, and the marker's task to none."""
    assert {(queue, lane) for queue, lane in QUEUE_LANES.items()} == {
        (queue, lane) for lane, queues in LANE_QUEUES.items() for queue in queues
    }
    assert MARKER_TASK not in {routing.task_name(lane) for lane in Lane}


@pytest.mark.parametrize("push_type", PUSH_TYPES)
def test_what_is_collapsed(push_type: str) -> None:
    """Background pushes always are, those of extensions on request, everything else never."""
    is_always = push_type == "background"
    may_be = LANES[push_type] is Lane.BACKGROUND
    assert routing.is_collapsed(push_type, on_request=False) is is_always
    assert routing.is_collapsed(push_type, on_request=True) is may_be


@given(st.text(min_size=1).filter(lambda app: "\n" not in app), st.integers(0, ids.SHARDS - 1))
def test_wake_ups_read_back(app: str, shard: int) -> None:
    """A wake-up says its app and shard, whatever the app's name."""
    assert routing.parse_wake_up(routing.wake_up_id(app, shard)) == (app, shard)


@pytest.mark.parametrize(
    "batch_id", ["", "wake", "wake:", "wake:3:a", "wake:16:a", "wake:03:", "Wake:03:a", " wake:03:a"]
)
def test_nothing_else_is_a_wake_up(batch_id: str) -> None:
    """What is no wake-up to the letter is taken for none."""
    assert routing.parse_wake_up(batch_id) is None


def test_no_batch_id_is_a_wake_up() -> None:
    """The id of a batch is never mistaken."""
    assert routing.parse_wake_up(str(uuid4())) is None
