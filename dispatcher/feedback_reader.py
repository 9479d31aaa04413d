"""Read feedback from the shards' streams, as a consumer group with acknowledgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from time import monotonic, sleep
from typing import Any, Final

import redis
import structlog

from dispatcher import feedback, ids, redis_keys
from dispatcher.errors import MessageError
from dispatcher.feedback import Feedback
from dispatcher.sealing import Sealing
from dispatcher.state_jobs import Question
from dispatcher.state_server import StateServer, state_server_errors
from dispatcher.streams import ABANDONED_MS, DEAD_LENGTH

#: Shard, place in its stream, fields.
Entry = tuple[int, bytes, Mapping[bytes, bytes]]

_SHARDS: Final = range(ids.SHARDS)
_POLL_S: Final = 0.2
#: How often a reader looks for what others left unacknowledged.
_LOOK_FOR_ABANDONED_EVERY_S: Final = 15.0
#: Spelled as `redis_keys.counter` does, of no app and lane: what cannot be read says nothing certain of them.
_UNREADABLE_COUNTER: Final = "feedback_unreadable|||"

log = structlog.get_logger()


class FeedbackReader:
    """Yields records until the caller stops; those not acknowledged come again.

    Every read asks all shards, in one round trip per server, and never blocks: it works on every form of Redis.
    """

    def __init__(
        self,
        state: StateServer,
        group: str,
        consumer: str,
        *,
        sealing: Sealing,
        app: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Make a reader; it asks nothing before the first read.

        Args:
            state: The state server.
            group: Each group sees every record once.
            consumer: This reader's name in the group.
            sealing: How device tokens are sealed.
            app: Yield this app's records only; the group passes over the others for good. None for all.
            clock: A clock that never jumps, in seconds.
        """
        self._state = state
        self._group = group
        self._consumer = consumer
        self._sealing = sealing
        self._app = app
        self._clock = clock
        self._is_prepared = False
        self._look_for_abandoned_at = clock()

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
        with state_server_errors():
            self._ack(by_shard)

    def _ack(self, by_shard: Mapping[int, Sequence[str]]) -> None:
        def ack(pipeline: Any, shard: int) -> None:
            pipeline.xack(redis_keys.feedback(shard), self._group, *by_shard[shard])

        self._state.ask_each(ack, by_shard)

    def _guarded_read(self, count: int) -> list[Feedback]:
        with state_server_errors():
            try:
                return self._read(count)
            except redis.ResponseError as exc:
                if "NOGROUP" not in str(exc):
                    raise
                self._is_prepared = False  # the state server lost its data, and our group with it
                return self._read(count)

    def _read(self, count: int) -> list[Feedback]:
        self._prepare()
        while entries := self._entries(count):
            if records := self._wanted(entries):
                return records
        return []

    def _entries(self, count: int) -> list[Entry]:
        """Return what somebody left unacknowledged, or else what is new."""
        if self._clock() >= self._look_for_abandoned_at:
            if abandoned := list(self._abandoned(count)):
                return abandoned  # there may be more: the next read looks again
            self._look_for_abandoned_at = self._clock() + _LOOK_FOR_ABANDONED_EVERY_S
        return list(self._new(count))

    def _wanted(self, entries: Iterable[Entry]) -> list[Feedback]:
        """Return the records to yield, and acknowledge the others, so that they do not come for ever."""
        records: list[Feedback] = []
        passed_over: dict[int, list[str]] = defaultdict(list)
        unreadable: list[tuple[Entry, str]] = []
        for entry in entries:
            shard, stream_id, fields = entry
            try:
                if self._is_for_others(fields):
                    passed_over[shard].append(stream_id.decode())
                    continue
                record = feedback.decode(fields, stream_id=stream_id.decode(), shard=shard, sealing=self._sealing)
                records.append(record)
            except MessageError as exc:
                unreadable.append((entry, str(exc)))
            except (ValueError, KeyError) as exc:
                unreadable.append((entry, f"it cannot be read: {type(exc).__name__}"))
        if unreadable:
            self._put_aside(unreadable)
        for (shard, stream_id, _), _ in unreadable:
            passed_over[shard].append(stream_id.decode())
        if passed_over:
            self._ack(passed_over)
        return records

    def _is_for_others(self, fields: Mapping[bytes, bytes]) -> bool:
        return self._app is not None and fields.get(b"app", b"").decode() != self._app

    def _put_aside(self, unreadable: Iterable[tuple[Entry, str]]) -> None:
        """Lay what cannot be read among the dead letters, from where it can be told again; raises if that fails."""
        letters = [(entry[0], self._letter(entry, reason)) for entry, reason in unreadable]
        self._state.ask_all([(shard, _adds(shard, letter)) for shard, letter in letters])
        self._state.ask_all([(shard, _counts(shard)) for shard, _ in letters])

    def _letter(self, entry: Entry, reason: str) -> dict[str, Any]:
        shard, stream_id, fields = entry
        told = feedback.keep_aside(fields)
        log.error(
            "feedback_unreadable",
            group=self._group,
            shard=shard,
            stream_id=stream_id.decode(),
            reason=reason,
            sha256=sha256(told.encode()).hexdigest(),
        )
        return {"apns_id": fields.get(b"apns_id", b""), "reason": f"feedback refused: {reason}", "told": told}

    def _prepare(self) -> None:
        """Make the group in every shard, from the beginning of its stream."""
        if self._is_prepared:
            return

        def make_group(pipeline: Any, shard: int) -> None:
            pipeline.xgroup_create(redis_keys.feedback(shard), self._group, id="0", mkstream=True)

        self._state.ask_each(make_group, _SHARDS, forgive="BUSYGROUP")
        self._is_prepared = True

    def _new(self, count: int) -> Iterator[Entry]:
        def read(pipeline: Any, shard: int) -> None:
            pipeline.xreadgroup(self._group, self._consumer, {redis_keys.feedback(shard): ">"}, count=count)

        for shard, reply in enumerate(self._state.ask_each(read, _SHARDS)):
            for entries in _streams(reply):
                yield from ((shard, stream_id, fields) for stream_id, fields in entries)

    def _abandoned(self, count: int) -> Iterator[Entry]:
        def take_over(pipeline: Any, shard: int) -> None:
            stream = redis_keys.feedback(shard)
            pipeline.xautoclaim(stream, self._group, self._consumer, min_idle_time=ABANDONED_MS, count=count)

        for shard, reply in enumerate(self._state.ask_each(take_over, _SHARDS)):
            yield from ((shard, stream_id, fields) for stream_id, fields in reply[1])


def _adds(shard: int, letter: Mapping[str, Any]) -> Question:
    dead = redis_keys.dead(shard, redis_keys.UNREADABLE)
    return lambda pipeline: pipeline.xadd(dead, dict(letter), maxlen=DEAD_LENGTH)


def _counts(shard: int) -> Question:
    return lambda pipeline: pipeline.hincrby(redis_keys.counters(shard), _UNREADABLE_COUNTER, 1)


def _streams(reply: Any) -> Iterable[Any]:
    """Return the entries of each stream in a reply."""
    return [entries for _, entries in reply or ()]
