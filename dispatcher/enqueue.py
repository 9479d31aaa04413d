"""What a web app calls: `Dispatcher`.

Accepting a notification is one call of one script in the state server; only then is a message published. If the broker
does not take the message the notification is accepted all the same, and a worker's sweep publishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from os import urandom
from time import time
from typing import Any, Final, Self, Unpack

from dispatcher import ids, outbox, record, routing, slots, sweeping, validation
from dispatcher.bulk import Tally
from dispatcher.errors import EnqueueError, NotificationError
from dispatcher.feedback_reader import FeedbackReader
from dispatcher.feedback_task import TakeRecords, make_handler
from dispatcher.messages import Publisher, make_celery
from dispatcher.notification import BatchReceipt, BulkOptions, BulkReceipt, Notification, Receipt, SendOptions
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.settings import Settings
from dispatcher.state_server import StateServer
from dispatcher.sweeping import Message

_RANDOM_BYTES: Final = 16


class Dispatcher:
    """Accepts notifications and tells how they ended.

    Safe to share between threads, and to make before a fork. It never opens a signing key and never talks to Apple.
    """

    def __init__(self, settings: Settings) -> None:
        """Make a dispatcher; connects at the first call."""
        self._settings = settings
        self._state = StateServer(
            settings.state_url.get_secret_value(), clock=settings.clock, timeout_s=settings.timeout_s
        )
        broker = make_celery(settings.broker_url.get_secret_value(), timeout_s=settings.timeout_s / 2)
        self._publisher = Publisher(broker)

    @classmethod
    def from_env(cls) -> Self:
        """Make a dispatcher from the environment variables and their TOML file.

        Raises:
            SettingsError: Something is wrong; lists every problem.
        """
        return cls(Settings.from_env())

    def alert(
        self,
        app: str,
        device_token: str,
        *,
        title: str | None = None,
        subtitle: str | None = None,
        body: str | None = None,
        badge: int | None = None,
        sound: str | None = None,
        data: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Receipt:
        """Show something to a person; `data` are the app's own keys beside `aps`. See `send`."""
        texts = {"title": title, "subtitle": subtitle, "body": body}
        alert = {name: text for name, text in texts.items() if text is not None}
        keys = {"alert": alert or None, "badge": badge, "sound": sound}
        aps = {name: value for name, value in keys.items() if value is not None}
        return self._send_short(app, "alert", device_token, aps=aps, data=data, options=options)

    def background(
        self, app: str, device_token: str, data: Mapping[str, Any] | None = None, **options: Unpack[SendOptions]
    ) -> Receipt:
        """Wake the app with `data` beside `aps`; a waiting one for the same device is replaced. See `send`."""
        return self._send_short(
            app, "background", device_token, aps={"content-available": 1}, data=data, options=options
        )

    def voip(self, app: str, device_token: str, data: Mapping[str, Any], **options: Unpack[SendOptions]) -> Receipt:
        """Let a call ring, within `expires_in` seconds (default 30) or not at all. See `send`."""
        return self.send(Notification(app=app, push_type="voip", device_token=device_token, payload=data, **options))

    def send(self, notification: Notification) -> Receipt:
        """Accept one notification.

        Raises:
            NotificationError: It breaks a rule; nothing was stored.
            EnqueueError: The state server did not confirm it within the configured timeout.
        """
        accepted = self._record(notification)
        own_id = None if notification.apns_id is None else validation.checked_apns_id(notification.apns_id)
        if routing.is_collapsed(notification.push_type, on_request=notification.collapse):
            return self._send_to_slot(accepted, own_id)
        return self._send_as_batch(accepted, own_id)

    def send_many(
        self,
        app: str,
        device_tokens: Iterable[str],
        *,
        payload: Mapping[str, Any],
        push_type: str,
        **options: Unpack[BulkOptions],
    ) -> BulkReceipt:
        """Accept one payload for many device tokens, of any number, in constant memory.

        A device token that breaks a rule is refused and counted; the others go on. Batches accepted before an error
        stay accepted.

        Raises:
            NotificationError: The payload or an option breaks a rule; nothing was stored.
            EnqueueError: The state server did not confirm a batch; `apns_ids` names the one in doubt, `accepted` says
                what went before.
        """
        some_device = "00"
        shared = Notification(app=app, push_type=push_type, device_token=some_device, payload=payload, **options)
        template = self._record(shared)
        collapsed = routing.is_collapsed(push_type, on_request=shared.collapse)
        tally = Tally(PUSH_TYPES[push_type].lane)
        valid = tally.checked(device_tokens)
        try:
            while chunk := tuple(islice(valid, ids.MAX_BATCH_SIZE)):
                if collapsed:
                    self._put_chunk_in_slots(template, chunk, tally)
                else:
                    tally.add(self._put_batch(replace(template, device_tokens=chunk)))
        except EnqueueError as exc:
            exc.accepted = tally.receipt()
            raise
        return tally.receipt()

    def feedback(self, group: str, *, consumer: str = "reader", app: str | None = None) -> FeedbackReader:
        """Read how notifications ended, for a named group of readers that share the work.

        Args:
            group: Each group sees every record once.
            consumer: This reader's name in the group; unacknowledged records come back to it.
            app: Read this app's records only; the group passes over the others for good.
        """
        return FeedbackReader(self._state.client, group, consumer, app=app)

    def feedback_handler(self, take: TakeRecords) -> Callable[[str], int]:
        """Make a function that takes up to 100 records the body of a Celery task, the app's `feedback_task`.

            @celery_app.task(name="shop.tasks.on_push_feedback")
            @push.feedback_handler
            def on_push_feedback(records: list[Feedback]) -> None: ...

        Workers call the task while there is feedback for the app. Records are acknowledged when the function has
        returned; if it raises, Celery gets the error and they come again after a minute, as they do when it takes
        longer than that. A record may come twice, never not at all.
        """
        return make_handler(self._state.client, take)

    def close(self) -> None:
        """Close every connection."""
        self._publisher.close()
        self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _record(self, notification: Notification) -> Record:
        app = self._settings.app(notification.app)
        return validation.make_record(notification, environment=app.environment, now=time())

    def _send_short(
        self,
        app: str,
        push_type: str,
        device_token: str,
        *,
        aps: Mapping[str, Any],
        data: Mapping[str, Any] | None,
        options: SendOptions,
    ) -> Receipt:
        if data is not None and "aps" in data:
            raise NotificationError("data", "must not hold 'aps'; use send() with a whole payload")
        payload = {"aps": aps, **(data or {})}
        return self.send(
            Notification(app=app, push_type=push_type, device_token=device_token, payload=payload, **options)
        )

    def _send_as_batch(self, accepted: Record, own_id: str | None) -> Receipt:
        lane = PUSH_TYPES[accepted.push_type].lane
        batch_id = own_id or ids.new_batch_id(urandom(1)[0] % ids.SHARDS, urandom(_RANDOM_BYTES))
        stored = record.encode(accepted)
        queue = routing.single_queue(lane)
        call = outbox.put(
            batch_id, stored, app=accepted.app, lane=lane, queue=queue, count=1, digest=_digest(own_id, stored)
        )
        acceptance = self._state.run(call, apns_ids=[batch_id])
        if _is_repeated(acceptance):
            return Receipt(apns_id=batch_id, lane=lane, repeated=True)
        message = Message(queue=queue, batch_id=batch_id, summary=sweeping.summary(accepted.app, 1))
        return Receipt(apns_id=batch_id, lane=lane, queued=self._publisher.publish(message))

    def _send_to_slot(self, accepted: Record, own_id: str | None) -> Receipt:
        digest = slots.device_of(accepted)
        shard = ids.shard_of_device(digest)
        apns_id = own_id or ids.new_batch_id(shard, urandom(_RANDOM_BYTES))
        stored = record.encode(accepted)
        call = slots.put(shard, digest.hex(), apns_id, stored, app=accepted.app, digest=_digest(own_id, stored))
        put = self._state.run(call, apns_ids=[apns_id])
        if _is_repeated(put.acceptance):
            return Receipt(apns_id=apns_id, lane=Lane.BACKGROUND, repeated=True)
        queued = not put.wake_up or self._wake(accepted.app, shard)
        return Receipt(apns_id=apns_id, lane=Lane.BACKGROUND, queued=queued, replaced=put.replaced)

    def _put_batch(self, batch: Record) -> BatchReceipt:
        lane = PUSH_TYPES[batch.push_type].lane
        batch_id = ids.new_batch_id(urandom(1)[0] % ids.SHARDS, urandom(_RANDOM_BYTES))
        queue, count = routing.bulk_queue(lane), len(batch.device_tokens)
        call = outbox.put(batch_id, record.encode(batch), app=batch.app, lane=lane, queue=queue, count=count, digest="")
        self._state.run(call, apns_ids=[batch_id])
        message = Message(queue=queue, batch_id=batch_id, summary=sweeping.summary(batch.app, count))
        return BatchReceipt(batch_id=batch_id, count=count, queued=self._publisher.publish(message))

    def _put_chunk_in_slots(self, template: Record, device_tokens: tuple[str, ...], tally: Tally) -> None:
        for shard, group in _by_shard(template, device_tokens):
            batch_id = ids.new_batch_id(shard, urandom(_RANDOM_BYTES))
            calls = [
                slots.put(
                    shard,
                    slots.device_of(single).hex(),
                    ids.apns_id_of(batch_id, index),
                    record.encode(single),
                    app=template.app,
                    digest="",
                )
                for index, single in enumerate(group)
            ]
            puts = self._state.run_all(calls, apns_ids=[batch_id])
            queued = self._wake(template.app, shard) if any(put.wake_up for put in puts) else True
            tally.add(
                BatchReceipt(batch_id=batch_id, count=len(group), queued=queued),
                replaced=sum(put.replaced for put in puts),
            )

    def _wake(self, app: str, shard: int) -> bool:
        return self._publisher.publish(slots.wake_up_message(routing.wake_up_id(app, shard)))


def _by_shard(template: Record, device_tokens: Iterable[str]) -> Iterator[tuple[int, list[Record]]]:
    groups: dict[int, list[Record]] = {}
    for device_token in device_tokens:
        single = replace(template, device_tokens=(device_token,))
        groups.setdefault(ids.shard_of_device(slots.device_of(single)), []).append(single)
    yield from groups.items()


def _digest(own_id: str | None, stored: bytes) -> str:
    return "" if own_id is None else blake2b(stored, digest_size=_RANDOM_BYTES).hexdigest()


def _is_repeated(acceptance: Acceptance) -> bool:
    if acceptance is Acceptance.CONFLICT:
        raise NotificationError("apns_id", "was used within a day for a notification with other content")
    return acceptance is Acceptance.REPEATED
