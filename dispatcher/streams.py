"""Watch over the streams of feedback and dead letters. Each function says one call of one script.

Both are bounded by length when something is added (common.lua) and by age here; what was trimmed is counted as
`feedback_trimmed` and `dead_trimmed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dispatcher import redis_keys
from dispatcher.state_call import StateCall, text

#: How long feedback is kept for groups that do not read it, in seconds.
FEEDBACK_AGE_S: Final = 7 * 86_400
#: How long dead letters are kept, in seconds.
DEAD_AGE_S: Final = 30 * 86_400
#: About how many dead letters are kept of an app in a shard; as in common.lua.
DEAD_LENGTH: Final = 10_000
#: An unacknowledged record of a reader that is gone comes to another one after this long.
ABANDONED_MS: Final = 60_000

_TASK_GROUP: Final = "task:"
_LOOK_AT: Final = 100
_CALL_PATIENCE_S: Final = 60.0
_LONGEST_PATIENCE_S: Final = 3600.0


def task_group(app: str) -> str:
    """Return the group in which an app's feedback task reads."""
    return _TASK_GROUP + app


def trim(shard: int, apps: Sequence[str]) -> StateCall[int]:
    """Remove what is too old from the shard's feedback and the apps' dead letters; returns how much that was."""
    return StateCall(
        script="trim_streams",
        shard=shard,
        keys=(redis_keys.feedback(shard), *(redis_keys.dead(shard, app) for app in (*apps, redis_keys.UNREADABLE))),
        args=(FEEDBACK_AGE_S, DEAD_AGE_S),
        read=int,
    )


def unheard(shard: int, apps: Sequence[str]) -> StateCall[list[str]]:
    """Find the apps for whose task there is feedback in a shard: unread, or unacknowledged for too long."""
    return StateCall(
        script="unheard",
        shard=shard,
        keys=(redis_keys.feedback(shard),),
        args=(_TASK_GROUP, ABANDONED_MS, _LOOK_AT, *apps),
        read=lambda reply: [text(app) for app in reply],
    )


def may_call_task(app: str) -> StateCall[bool]:
    """Ask whether an app's feedback task may be called: one call is outstanding at most, a lost one is replaced.

    A call that nobody begins is repeated after a minute, then two, four and so on, up to an hour: a web app that is
    down for a day finds about thirty messages, not a day's worth.
    """
    return StateCall(
        script="marker_send",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.feedback_call(app),),
        args=(_CALL_PATIENCE_S, _LONGEST_PATIENCE_S),
        read=lambda reply: reply is not None,
    )
