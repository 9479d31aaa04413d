"""Which queue and task carry what.

A queue has the name of its lane's task; alerts enqueued in bulk have a queue of their own, which the workers of the
alert lane consume in turn with the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dispatcher.push_types import PUSH_TYPES, Collapse, Lane

TASK_PREFIX: Final = "apns."
MARKER_TASK: Final = "apns.marker"
BULK_QUEUE: Final = "apns.alert.bulk"

#: Every queue a lane's workers consume; the first is the lane's own.
LANE_QUEUES: Final[Mapping[Lane, tuple[str, ...]]] = {
    Lane.VOIP: ("apns.voip",),
    Lane.ALERT: ("apns.alert", BULK_QUEUE),
    Lane.BACKGROUND: ("apns.background",),
}
QUEUE_LANES: Final[Mapping[str, Lane]] = {queue: lane for lane, queues in LANE_QUEUES.items() for queue in queues}


def task_name(lane: Lane) -> str:
    """Return the Celery task of a lane."""
    return TASK_PREFIX + lane


def single_queue(lane: Lane) -> str:
    """Return the queue for notifications sent one by one."""
    return LANE_QUEUES[lane][0]


def bulk_queue(lane: Lane) -> str:
    """Return the queue for notifications sent by `send_many`."""
    return LANE_QUEUES[lane][-1]


def is_collapsed(push_type: str, *, on_request: bool) -> bool:
    """Tell whether a notification goes through its device's slot."""
    collapse = PUSH_TYPES[push_type].collapse
    return collapse is Collapse.ALWAYS or (collapse is Collapse.ON_REQUEST and on_request)


_WAKE_UP_ID: Final = re.compile(r"wake:(?P<shard>0\d|1[0-5]):(?P<app>.+)")


def wake_up_id(app: str, shard: int) -> str:
    """Return what a message carries instead of a batch id to say: slots of this app and shard are due."""
    return f"wake:{shard:02d}:{app}"


def parse_wake_up(batch_id: str) -> tuple[str, int] | None:
    """Return the app and shard of a wake-up, or None for anything else."""
    found = _WAKE_UP_ID.fullmatch(batch_id)
    return (found["app"], int(found["shard"])) if found else None
