"""Collect what the simulator received and what feedback says while the demo runs."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

import redis

from dispatcher import Dispatcher, ids, redis_keys
from dispatcher.dev.demo.ledger import Received
from dispatcher.errors import DispatcherError
from dispatcher.feedback import Feedback

_GROUP: Final = "demo"
_READ_COUNT: Final = 500
_WAIT_S: Final = 0.2
#: An update that may go at once is due when it is put, which may be while we look.
_CLEARLY_LATER_S: Final = 0.2


class FeedbackCollector:
    """Reads and acknowledges feedback in a thread of its own, as an app would, from `with` to its end.

    Attributes:
        ended: Every record so far.
        apns_ids: Those of all records.
    """

    def __init__(self, push: Dispatcher) -> None:
        self.ended: list[Feedback] = []
        self.apns_ids: set[str] = set()
        self._reader = push.feedback(_GROUP)
        self._has_to_stop = Event()
        self._failure: DispatcherError | None = None
        self._thread = Thread(target=self._collect, name="feedback", daemon=True)

    def finish(self) -> None:
        """Read what is left and stop; call it when nobody writes any more.

        Raises:
            StateServerError: The state server did not answer.
        """
        self._stop()
        if self._failure:
            raise self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._has_to_stop.set()
        self._thread.join()

    def _collect(self) -> None:
        try:
            while self._read() or not self._has_to_stop.is_set():
                continue
        except DispatcherError as exc:
            self._failure = exc

    def _read(self) -> bool:
        wait_s = 0.0 if self._has_to_stop.is_set() else _WAIT_S
        records = self._reader.read(count=_READ_COUNT, wait_s=wait_s)
        self._reader.ack(*records)
        self.ended += records
        self.apns_ids.update(record.apns_id for record in records)
        return bool(records)


class HeldWatcher:
    """Looks which background updates wait in their slots until their device may get another one.

    Attributes:
        apns_ids: Those that were seen waiting; what was replaced between two looks is not among them.
    """

    def __init__(self, state_url: str, app: str) -> None:
        self.apns_ids: set[str] = set()
        self._client = redis.Redis.from_url(state_url)
        self._app = app

    def look(self) -> None:
        """Look once."""
        seconds, microseconds = self._client.time()
        later = seconds + microseconds / 1e6 + _CLEARLY_LATER_S
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.zrangebyscore(redis_keys.held(shard, self._app), later, "+inf")
        for shard, devices in enumerate(pipeline.execute()):
            for device in devices:
                pipeline.hmget(redis_keys.slot(shard, device.decode()), "id", "attempts")
        untried = (apns_id for apns_id, attempts in pipeline.execute() if apns_id and not int(attempts or 0))
        self.apns_ids.update(apns_id.decode() for apns_id in untried)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()


class RequestFollower:
    """Reads the simulator's log as it grows.

    Attributes:
        received: Every request so far.
    """

    def __init__(self, log: Path) -> None:
        self.received: list[Received] = []
        self._log = log
        self._offset = 0

    def read(self) -> None:
        """Read the lines that have been added."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        self.received += [_parse(line) for line in whole.splitlines()]


def _parse(line: bytes) -> Received:
    logged = json.loads(line)
    return Received(
        apns_id=logged["apns_id"],
        device_token=logged["device_token"] or "",
        at=logged["at"],
        status=logged["status"],
        reason=logged["reason"],
        provider_token=logged["provider_token"],
        version=json.loads(logged["payload"]).get("version"),
    )
