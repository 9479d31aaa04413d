"""Hand feedback to a Celery task of the web app's own.

A device token must never be a Celery argument, so the message that calls the task says only: come and read. The task
reads its app's records from the feedback streams, a hundred at a time, and acknowledges what its function took.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from dispatcher import ids, redis_keys, streams
from dispatcher.feedback import Feedback
from dispatcher.feedback_reader import FeedbackReader
from dispatcher.sealing import Sealing
from dispatcher.state_server import StateServer, state_server_errors

#: The most records that the function gets at once.
MAX_RECORDS: Final = 100
#: How often one call of the task calls the function; the fleet calls the task again for what is left.
MAX_ROUNDS: Final = 10

_PER_SHARD: Final = MAX_RECORDS // ids.SHARDS
_CONSUMER: Final = "task"

TakeRecords = Callable[[list[Feedback]], Any]


def make_handler(state: StateServer, take: TakeRecords, sealing: Sealing) -> Callable[[str], int]:
    """Return the body of a feedback task: it takes a bundle id and returns how many records the function took."""

    @wraps(take)
    def handle(app: str) -> int:
        with state_server_errors():
            # Begun: what comes from now on is worth another call.
            state.ask(redis_keys.FLEET_SHARD, lambda pipeline: pipeline.delete(redis_keys.feedback_call(app)))
        reader = FeedbackReader(state, streams.task_group(app), _CONSUMER, sealing=sealing, app=app)
        return sum(_hand_over(reader, take) for _ in range(MAX_ROUNDS))

    return handle


def _hand_over(reader: FeedbackReader, take: TakeRecords) -> int:
    records = reader.read(count=_PER_SHARD)
    if records:
        take(records)
        reader.ack(*records)
    return len(records)
