"""What a web app calls: `Dispatcher`.

Accepting a notification is one call of one script in the state server; only then is a message published. If the broker
does not take the message the notification is accepted all the same, and a worker's sweep publishes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from dispatcher.messages import Publisher, make_celery
from dispatcher.notification import BatchReceipt, BulkOptions, BulkReceipt, Notification, Receipt, SendOptions
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES, Environment, Lane
from dispatcher.record import Record
from dispatcher.settings import Settings
from dispatcher.slot_values import Released, SlotPut, terms_of
from dispatcher.state_call import StateCall
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
            return self._send_to_slot(accepted, own_id, hold_for=notification.hold_for)
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
                    self._put_chunk_in_slots(template, chunk, tally, hold_for=shared.hold_for)
                else:
                    tally.add(self._put_batch(replace(template, device_tokens=chunk)))
        except EnqueueError as exc:
            exc.accepted = tally.receipt()
            raise
        return tally.receipt()

    def device_online(
        self, app: str, device_token: str, *, fetched: bool = False, environment: Environment | None = None
    ) -> Released:
        """Send at once what is held for a device on which the app was launched, as the device itself would.

        The budget and `hold_for` are waived; `send_at` and the delay after a failed try are not. What is being sent
        is not held.

        Args:
            app: Bundle id.
            device_token: Of the app on the device, for its background notifications.
            fetched: The app has the news already: what is held is dropped, and ends as superseded.
            environment: Overrides the app's environment.

        Raises:
            NotificationError: An argument breaks a rule.
            EnqueueError: The state server did not confirm it within the configured timeout.
        """
        aps = {"content-available": 1}
        any_update = Notification(
            app=app, push_type="background", device_token=device_token, payload={"aps": aps}, environment=environment
        )
        device = slots.device_of(self._record(any_update))
        shard = ids.shard_of_device(device)
        found = self._state.run(slots.device_online(shard, device.hex(), app=app, fetched=fetched))
        if found.wake_up:
            self._wake(app, shard)
        return found.released

    def feedback(self, group: str, *, consumer: str = "reader") -> FeedbackReader:
        """Read how notifications ended, for a named group of readers that share the work.

        Args:
            group: Each group sees every record once.
            consumer: This reader's name in the group; unacknowledged records come back to it.
        """
        return FeedbackReader(self._state.client, group, consumer)

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

    def _send_to_slot(self, accepted: Record, own_id: str | None, *, hold_for: float) -> Receipt:
        device = slots.device_of(accepted)
        apns_id = own_id or ids.new_batch_id(ids.shard_of_device(device), urandom(_RANDOM_BYTES))
        call = self._slot_put(accepted, device, apns_id, hold_for=hold_for, is_own=own_id is not None)
        put = self._state.run(call, apns_ids=[apns_id])
        if _is_repeated(put.acceptance):
            return Receipt(apns_id=apns_id, lane=Lane.BACKGROUND, repeated=True)
        queued = not put.wake_up or self._wake(accepted.app, call.shard)
        return Receipt(
            apns_id=apns_id, lane=Lane.BACKGROUND, queued=queued, replaced=put.replaced, superseded=put.superseded
        )

    def _slot_put(
        self, single: Record, device: bytes, apns_id: str, *, hold_for: float, is_own: bool
    ) -> StateCall[SlotPut]:
        stored, spacing_s = record.encode(single), self._settings.app(single.app).background_spacing_s
        return slots.put(
            ids.shard_of_device(device),
            device.hex(),
            apns_id,
            stored,
            app=single.app,
            terms=terms_of(single, spacing_s=spacing_s, hold_for=hold_for),
            digest=_digest(apns_id if is_own else None, stored),
            window_s=outbox.SEEN_S,
        )

    def _put_batch(self, batch: Record) -> BatchReceipt:
        lane = PUSH_TYPES[batch.push_type].lane
        batch_id = ids.new_batch_id(urandom(1)[0] % ids.SHARDS, urandom(_RANDOM_BYTES))
        queue, count = routing.bulk_queue(lane), len(batch.device_tokens)
        call = outbox.put(batch_id, record.encode(batch), app=batch.app, lane=lane, queue=queue, count=count, digest="")
        self._state.run(call, apns_ids=[batch_id])
        message = Message(queue=queue, batch_id=batch_id, summary=sweeping.summary(batch.app, count))
        return BatchReceipt(batch_id=batch_id, count=count, queued=self._publisher.publish(message))

    def _put_chunk_in_slots(
        self, template: Record, device_tokens: tuple[str, ...], tally: Tally, *, hold_for: float
    ) -> None:
        for shard, group in _by_shard(template, device_tokens):
            batch_id = ids.new_batch_id(shard, urandom(_RANDOM_BYTES))
            calls = [
                self._slot_put(single, device, ids.apns_id_of(batch_id, index), hold_for=hold_for, is_own=False)
                for index, (device, single) in enumerate(group)
            ]
            puts = self._state.run_all(calls, apns_ids=[batch_id])
            for put in puts:
                _is_repeated(put.acceptance)
            queued = self._wake(template.app, shard) if any(put.wake_up for put in puts) else True
            tally.add(
                BatchReceipt(batch_id=batch_id, count=len(group), queued=queued),
                replaced=sum(put.replaced for put in puts),
            )

    def _wake(self, app: str, shard: int) -> bool:
        return self._publisher.publish(slots.wake_up_message(routing.wake_up_id(app, shard)))


def _by_shard(template: Record, device_tokens: Iterable[str]) -> Iterator[tuple[int, list[tuple[bytes, Record]]]]:
    groups: dict[int, list[tuple[bytes, Record]]] = {}
    for device_token in device_tokens:
        single = replace(template, device_tokens=(device_token,))
        device = slots.device_of(single)
        groups.setdefault(ids.shard_of_device(device), []).append((device, single))
    yield from groups.items()


def _digest(own_id: str | None, stored: bytes) -> str:
    return "" if own_id is None else blake2b(stored, digest_size=_RANDOM_BYTES).hexdigest()


def _is_repeated(acceptance: Acceptance) -> bool:
    if acceptance is Acceptance.CONFLICT:
        raise NotificationError("apns_id", "was used within a day for a notification with other content")
    if acceptance is Acceptance.EXPIRED:
        raise NotificationError("expiration", "is in the past")
    return acceptance is Acceptance.REPEATED
