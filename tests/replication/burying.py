"""Lay something among the dead letters, as a worker does that has tried in vain."""

from __future__ import annotations

import time
from typing import Final
from uuid import uuid4

from dispatcher import Environment, Outcome, ids, redis_keys
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.notes import Ends
from dispatcher.record import Record
from dispatcher.sealing import Sealing
from dispatcher.state_server import StateServer
from workers.endings import Past, leave
from workers.retry import Finish

APP: Final = "com.example.app"


def bury(state: StateServer, shard: int, sealing: Sealing) -> str:
    """Lay a notification among the dead letters of a shard; return its apns id."""
    apns_id = ids.new_batch_id(shard, uuid4().bytes)
    batch = Record(
        app=APP,
        environment=Environment.PRODUCTION,
        push_type="alert",
        device_tokens=(device_token(10**8 + shard),),
        payload=b'{"aps":{"alert":"hi"}}',
        priority=10,
    )
    ends, at = Ends(), time.time()
    finish = Finish(outcome=Outcome.DEAD_LETTERED, status=503, reason="ServiceUnavailable")
    past = Past(history=f"{at:.0f} ServiceUnavailable", accepted_at=at)
    leave(ends, batch, 0, apns_id, finish, sealing=sealing, past=past)
    flat = [*ends.dead[0], "at", f"{at:.6f}"]
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    state.ask(shard, lambda pipeline: pipeline.xadd(redis_keys.dead(shard, APP), fields))
    return apns_id
