"""Read feedback from the shards' streams, as a consumer group with acknowledgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Final

import redis
import structlog

from dispatcher import feedback, ids, redis_keys
from dispatcher.errors import StateServerError
from dispatcher.feedback import Feedback

#: Shard, place in its stream, fields.
Entry = tuple[int, bytes, Mapping[bytes, bytes]]

_POLL_S: Final = 0.2
#: An unacknowledged record of a reader that is gone comes to another one after this long.
_ABANDONED_MS: Final = 60_000

log = structlog.get_logger()


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
            StateServerError: The state server does not answer.
        """
        ends = monotonic() + wait_s
        while True:
            records = self._guarded_read(count)
            if records or monotonic() >= ends:
                return records
            sleep(min(_POLL_S, max(0.0, ends - monotonic())))

    def ack(self, *records: Feedback) -> None:
        """Acknowledge records: the group will not see them again.

        Raises:
            StateServerError: The state server does not answer; they come again.
        """
        by_shard: dict[int, list[str]] = defaultdict(list)
        for record in records:
            by_shard[record.shard].append(record.stream_id)
        with _state_server_errors():
            self._ack(by_shard)

    def _ack(self, by_shard: Mapping[int, Sequence[str]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for shard, stream_ids in by_shard.items():
            pipeline.xack(redis_keys.feedback(shard), self._group, *stream_ids)
        pipeline.execute()

    def _guarded_read(self, count: int) -> list[Feedback]:
        with _state_server_errors():
            try:
                return self._read(count)
            except redis.ResponseError as exc:
                if "NOGROUP" not in str(exc):
                    raise
                self._is_prepared = False  # the state server lost its data, and our group with it
                return self._read(count)

    def _read(self, count: int) -> list[Feedback]:
        self._prepare()
        entries = [*self._abandoned(count), *self._new(count)]
        return [record for entry in entries if (record := self._decode(*entry))]

    def _decode(self, shard: int, stream_id: bytes, fields: Mapping[bytes, bytes]) -> Feedback | None:
        """Return a record; one that this release cannot read is acknowledged, so that it does not come for ever."""
        try:
            return feedback.decode(fields, stream_id=stream_id.decode(), shard=shard)
        except (ValueError, KeyError) as exc:
            log.warning("feedback_unreadable", shard=shard, stream_id=stream_id.decode(), error=type(exc).__name__)
            self._ack({shard: [stream_id.decode()]})
            return None

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

    def _new(self, count: int) -> Iterator[Entry]:
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.xreadgroup(self._group, self._consumer, {redis_keys.feedback(shard): ">"}, count=count)
        for shard, reply in enumerate(pipeline.execute()):
            for entries in _streams(reply):
                yield from ((shard, stream_id, fields) for stream_id, fields in entries)

    def _abandoned(self, count: int) -> Iterator[Entry]:
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            stream = redis_keys.feedback(shard)
            pipeline.xautoclaim(stream, self._group, self._consumer, min_idle_time=_ABANDONED_MS, count=count)
        for shard, reply in enumerate(pipeline.execute()):
            yield from ((shard, stream_id, fields) for stream_id, fields in reply[1])


def _streams(reply: Any) -> Iterable[Any]:
    """Return the entries of each stream in a reply."""
    return [entries for _, entries in reply or ()]


@contextmanager
def _state_server_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as exc:
        raise StateServerError(f"the state server does not answer ({type(exc).__name__})") from exc
