"""Look through the dead letters of all shards, send them again, or drop them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, Self

from dispatcher import dead_letter, feedback, ids, outbox, record, redis_keys
from dispatcher.dead_letter import DeadLetter, Wanted
from dispatcher.errors import EnqueueError, MessageError, StateServerError
from dispatcher.messages import Publisher, make_celery
from dispatcher.record import Record
from dispatcher.replay import Replay, Return, hindrance_of, take, way_back
from dispatcher.sealing_choice import make_sealing
from dispatcher.settings import Settings
from dispatcher.state_server import StateServer, state_server_errors

_PAGE: Final = 100


class DeadLetters:
    """The dead letters of every configured app, and what could not be read."""

    def __init__(self, settings: Settings) -> None:
        """Make it; connects at the first call."""
        self._apps = settings.apps
        self._state = StateServer.of(settings)
        self._sealing = make_sealing(settings.record_keys)
        broker = make_celery(settings.broker_url.get_secret_value(), timeout_s=settings.timeout_s / 2)
        self._publisher = Publisher(broker)

    def now(self) -> float:
        """Return the state server's time, in Unix seconds.

        Raises:
            StateServerError: It does not answer.
        """
        try:
            return self._state.run(outbox.time())
        except EnqueueError as exc:
            raise StateServerError("the state server does not answer") from exc

    def find(self, wanted: Wanted) -> Iterator[DeadLetter]:
        """Yield the wanted ones, oldest first.

        Raises:
            StateServerError: The state server does not answer.
        """
        apps = (*self._apps, redis_keys.UNREADABLE) if wanted.app is None else (wanted.app,)
        streams = [self._read(app, shard) for app in apps for shard in range(ids.SHARDS)]
        yield from filter(wanted.includes, heapq.merge(*streams, key=lambda letter: letter.order))

    def replay(self, letter: DeadLetter, *, is_rehearsal: bool = False) -> Replay:
        """Accept a dead letter again under its own apns id, with all its tries before it.

        Its time counts from its first acceptance. One that waited in its device's slot goes there again, but never
        over a newer one. What could not be read goes back as soon as it can be, by a newer release or with the key
        that was missing; feedback goes back to its readers.

        Args:
            letter: Which.
            is_rehearsal: Only look what would become of it.

        Raises:
            StateServerError: The state server does not answer. The letter may have been accepted and may still be
                here: another replay before it ends adds nothing, one after it sends it again.
        """
        if letter.told:
            return self._tell(letter, is_rehearsal=is_rehearsal)
        try:
            before = self.opened(letter)
        except MessageError:
            return Replay.UNREADABLE
        app = before.app if letter.app == redis_keys.UNREADABLE else letter.app
        if app not in self._apps:
            return Replay.NOT_CONFIGURED
        again = dead_letter.renewed(before, accepted_at=letter.accepted_at, now=self.now())
        if again is None:
            return Replay.EXPIRED
        spacing_s = self._apps[app].background_spacing_s
        way = way_back(letter, again, spacing_s=spacing_s, sealing=self._sealing)
        with state_server_errors():
            if is_rehearsal:
                return hindrance_of(self._state, way) or Replay.REPLAYED
            return self._replay(letter, way)

    def opened(self, letter: DeadLetter) -> Record:
        """Return the record of a dead letter.

        Raises:
            MessageError: It cannot be read, or was not sealed by one of us.
        """
        return record.decode(letter.stored, letter.place, self._sealing)

    def drop(self, letter: DeadLetter) -> None:
        """Forget a dead letter for good.

        Raises:
            StateServerError: The state server does not answer.
        """
        with state_server_errors():
            stream = redis_keys.dead(letter.shard, letter.app)
            self._state.ask(letter.shard, lambda pipeline: pipeline.xdel(stream, letter.stream_id))

    def close(self) -> None:
        """Close every connection."""
        self._publisher.close()
        self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _tell(self, letter: DeadLetter, *, is_rehearsal: bool) -> Replay:
        """Put feedback back into its stream, if it can be read now."""
        try:
            fields: Any = feedback.kept_aside(letter.told)
            feedback.decode(fields, stream_id=letter.stream_id, shard=letter.shard, sealing=self._sealing)
        except (MessageError, ValueError, KeyError, TypeError):
            return Replay.UNREADABLE
        if not is_rehearsal:
            with state_server_errors():
                self._state.client.xadd(redis_keys.feedback(letter.shard), fields)
            self.drop(letter)
        return Replay.REPLAYED

    def _replay(self, letter: DeadLetter, way: Return) -> Replay:
        result, message = take(self._state, way, letter.apns_id)
        if result is Replay.REPLAYED:
            self._confirm(way.call.shard)
            self.drop(letter)
        if message is not None:
            self._publisher.publish(message)  # if the broker is away, a worker's sweep does it
        return result

    def _confirm(self, shard: int) -> None:
        """Make sure of what was accepted before its letter is dropped, if replicas are to be waited for."""
        try:
            self._state.confirm(shard)
        except EnqueueError as exc:
            raise StateServerError(str(exc)) from exc

    def _read(self, app: str, shard: int) -> Iterator[DeadLetter]:
        stream, first = redis_keys.dead(shard, app), "-"
        while True:
            with state_server_errors():
                entries = self._state.ask(shard, partial(_page, stream=stream, first=first))
            for stream_id, fields in entries:
                yield dead_letter.decode(app, fields, shard=shard, stream_id=stream_id.decode(), sealing=self._sealing)
            if len(entries) < _PAGE:
                return
            first = f"({entries[-1][0].decode()}"


def _page(pipeline: Any, *, stream: str, first: str) -> None:
    pipeline.xrange(stream, first, "+", count=_PAGE)
