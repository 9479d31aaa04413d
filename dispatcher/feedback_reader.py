"""Read feedback from the shards' streams, as a consumer group with acknowledgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from time import monotonic, sleep
from typing import Any, Final

import redis

from dispatcher import feedback, ids, redis_keys
from dispatcher.errors import EnqueueError
from dispatcher.feedback import Feedback

_POLL_S: Final = 0.2
#: An unacknowledged record of a reader that is gone comes to another one after this long.
_ABANDONED_MS: Final = 60_000


class FeedbackReader:
    """Yields records until the caller stops; those not acknowledged come again.

    Every read asks all shards in one round trip and never blocks the server, so it works on every form of Redis.
    """

    def __init__(self, client: redis.Redis, group: str, consumer: str) -> None:
        self._client = client
        self._group = group
        self._consumer = consumer
        self._is_prepared = False

    def __iter__(self) -> Iterator[Feedback]:
        """Yield records for ever, waiting for new ones."""
        while True:
            yield from self.read(wait_s=60.0)

    def read(self, *, count: int = 100, wait_s: float = 0.0) -> list[Feedback]:
        """Return up to `count` records per shard, waiting at most `wait_s` seconds for the first.

        Raises:
            EnqueueError: The state server does not answer.
        """
        ends = monotonic() + wait_s
        while True:
            records = self._guarded_read(count)
            if records or monotonic() >= ends:
                return records
            sleep(min(_POLL_S, max(0.0, ends - monotonic())))

    def ack(self, *records: Feedback) -> None:
        """Acknowledge records: the group will not see them again."""
        by_shard: dict[int, list[str]] = defaultdict(list)
        for record in records:
            by_shard[record.shard].append(record.stream_id)
        pipeline = self._client.pipeline(transaction=False)
        for shard, stream_ids in by_shard.items():
            pipeline.xack(redis_keys.feedback(shard), self._group, *stream_ids)
        pipeline.execute()

    def _guarded_read(self, count: int) -> list[Feedback]:
        try:
            self._prepare()
            return [*self._abandoned(count), *self._new(count)]
        except redis.RedisError as exc:
            reason = f"the state server does not answer ({type(exc).__name__})"
            raise EnqueueError(reason, certainly_not_accepted=True) from exc

    def _prepare(self) -> None:
        """Make the group in every shard, from the beginning of its stream."""
        if self._is_prepared:
            return
        for shard in range(ids.SHARDS):
            try:
                self._client.xgroup_create(redis_keys.feedback(shard), self._group, id="0", mkstream=True)
            except redis.ResponseError as exc:
                if "BUSYGROUP" not in str(exc):
                    raise
        self._is_prepared = True

    def _new(self, count: int) -> Iterator[Feedback]:
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.xreadgroup(self._group, self._consumer, {redis_keys.feedback(shard): ">"}, count=count)
        for shard, reply in enumerate(pipeline.execute()):
            for _, entries in _streams(reply):
                yield from _decode(entries, shard)

    def _abandoned(self, count: int) -> Iterator[Feedback]:
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            stream = redis_keys.feedback(shard)
            pipeline.xautoclaim(stream, self._group, self._consumer, min_idle_time=_ABANDONED_MS, count=count)
        for shard, reply in enumerate(pipeline.execute()):
            yield from _decode(reply[1], shard)


def _streams(reply: Any) -> Iterable[tuple[bytes, Any]]:
    """Return the streams of a reply, which is a mapping or a list depending on the protocol's version."""
    if isinstance(reply, dict):
        return [
            (name, entries[0] if entries and isinstance(entries[0], list) else entries)
            for name, entries in reply.items()
        ]
    return reply or ()


def _decode(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], shard: int) -> Iterator[Feedback]:
    for stream_id, fields in entries:
        yield feedback.decode(fields, stream_id=stream_id.decode(), shard=shard)
