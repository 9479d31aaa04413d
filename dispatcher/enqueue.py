"""What a web app calls: `Dispatcher`.

Accepting a notification is one call of one script in the state server; only then is a message published. If the broker
does not take the message the notification is accepted all the same, and a worker's sweep publishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import Any, Self, Unpack

from dispatcher import idempotency, ids, routing, validation
from dispatcher.admission import Admission
from dispatcher.batches import Batches
from dispatcher.bulk import Tally
from dispatcher.cancellation import Cancellation
from dispatcher.collapsing import Collapsing
from dispatcher.errors import EnqueueError, NotificationError
from dispatcher.feedback_reader import FeedbackReader
from dispatcher.feedback_task import TakeRecords, make_handler
from dispatcher.inquiries import Inquiries
from dispatcher.messages import Publisher, make_celery
from dispatcher.notification import BulkOptions, BulkReceipt, Notification, Receipt, SendOptions
from dispatcher.push_types import PUSH_TYPES, Environment
from dispatcher.record import Record
from dispatcher.sealing_choice import make_sealing
from dispatcher.settings import Settings
from dispatcher.slot_values import Released
from dispatcher.state_server import StateServer
from dispatcher.status import Status


class Dispatcher:
    """Accepts notifications and tells how they ended.

    Safe to share between threads, and to make before a fork. It never opens a signing key and never talks to Apple.
    """

    def __init__(self, settings: Settings) -> None:
        """Make a dispatcher; connects at the first call.

        Raises:
            MissingExtraError: There are keys for records, and nothing to encrypt with.
        """
        self._settings = settings
        self._state = StateServer.of(settings)
        broker = make_celery(settings.broker_url.get_secret_value(), timeout_s=settings.timeout_s / 2)
        self._publisher = Publisher(broker)
        self._sealing = make_sealing(settings.record_keys)
        admission = Admission(self._state, settings.marks, must_keep=settings.is_production)
        self._batches = Batches(admission=admission, publisher=self._publisher, sealing=self._sealing)
        self._collapsing = Collapsing(
            state=self._state,
            admission=admission,
            publisher=self._publisher,
            apps=settings.apps,
            sealing=self._sealing,
        )

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
            ConflictError: Its apns id or idempotency key was used for something else; nothing was stored.
            EnqueueError: The state server did not confirm it within the configured timeout.
            Backpressure: It, or the queue, is too full; nothing was stored.
            UnsafeServerError: In production: it would lose what it accepts; nothing was stored.
        """
        accepted = self._record(notification)
        identity = idempotency.identity_of(notification, window_s=self._settings.idempotency_window_s)
        if routing.is_collapsed(notification.push_type, on_request=notification.collapse):
            return self._collapsing.send(accepted, identity, hold_for=notification.hold_for)
        return self._batches.send(accepted, identity)

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
        stay accepted; a call with an idempotency key may be made again, with the same device tokens in the same
        order, and adds only what is missing.

        Raises:
            NotificationError: The payload or an option breaks a rule; nothing was stored.
            ConflictError: The idempotency key was used for something else; batches before the first that differs stay
                accepted.
            EnqueueError: The state server did not confirm a batch; `apns_ids` names the one in doubt, `accepted` says
                what went before.
        """
        some_device = "00"
        shared = Notification(app=app, push_type=push_type, device_token=some_device, payload=payload, **options)
        template = self._record(shared)
        identity = idempotency.identity_of(shared, window_s=self._settings.idempotency_window_s)
        send_chunk = self._batches.send_chunk
        if routing.is_collapsed(push_type, on_request=shared.collapse):
            send_chunk = partial(self._collapsing.send_chunk, hold_for=shared.hold_for)
        tally = Tally(PUSH_TYPES[push_type].lane)
        valid = tally.checked(device_tokens)
        try:
            for number in count():
                chunk = tuple(islice(valid, ids.MAX_BATCH_SIZE))
                if not chunk:
                    break
                send_chunk(replace(template, device_tokens=chunk), tally, identity, number)
        except EnqueueError as exc:
            exc.accepted = tally.receipt()
            raise
        return tally.receipt()

    def cancel(self, apns_id: str) -> Cancellation:
        """Cancel a notification that has not been sent; the answer says whether that came in time.

        Raises:
            NotificationError: It is no apns id.
            StateServerError: The state server does not answer; it may have been cancelled.
        """
        return Inquiries(state=self._state).cancel(apns_id)

    def status(self, apns_id: str) -> Status | None:
        """Tell where a notification is.

        Of one that has ended it tells how, for a day, if it was sent with `track`. None: nothing is known.

        Raises:
            NotificationError: It is no apns id.
            StateServerError: The state server does not answer.
        """
        return Inquiries(state=self._state).status(apns_id)

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
        payload = {"aps": {"content-available": 1}}
        any_update = Notification(
            app=app, push_type="background", device_token=device_token, payload=payload, environment=environment
        )
        return self._collapsing.device_online(self._record(any_update), fetched=fetched)

    def feedback(self, group: str, *, consumer: str = "reader", app: str | None = None) -> FeedbackReader:
        """Read how notifications ended, for a named group of readers that share the work.

        Args:
            group: Each group sees every record once.
            consumer: This reader's name in the group; unacknowledged records come back to it.
            app: Read this app's records only; the group passes over the others for good.
        """
        return FeedbackReader(self._state, group, consumer, sealing=self._sealing, app=app)

    def feedback_handler(self, take: TakeRecords) -> Callable[[str], int]:
        """Make a function that takes up to 100 records the body of a Celery task, the app's `feedback_task`.

            @celery_app.task(name="shop.tasks.on_push_feedback")
            @push.feedback_handler
            def on_push_feedback(records: list[Feedback]) -> None: ...

        Workers call the task while there is feedback for the app. Records are acknowledged when the function has
        returned; if it raises, Celery gets the error and they come again after a minute, as they do when it takes
        longer than that. A record may come twice, never not at all.
        """
        return make_handler(self._state, take, self._sealing)

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
        return validation.make_record(notification, environment=app.environment)

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
