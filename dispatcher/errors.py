"""Every error this package raises on purpose, in one small tree.

DispatcherError
    SettingsError       the configuration is wrong: do not start
    NotificationError   the caller asked for something Apple would refuse
        ConflictError   an id or idempotency key was used before for something else
    EnqueueError        the notification could not be (or may not have been) accepted
        Backpressure    the state server or a queue is too full
        UnsafeServerError  the state server would lose what it accepts
    StateServerError    the state server does not answer
    MessageError        a stored record or queued message cannot be read
    SigningError        a signing key cannot be used
    TransportError      a push got no answer
    MissingExtraError   a part was used whose extra is not installed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.notification import BulkReceipt


class DispatcherError(Exception):
    """Root of every error raised by this package."""


class SettingsError(DispatcherError):
    """The configuration cannot be used; holds every problem found, not only the first.

    Attributes:
        problems: One line each: what is wrong, where, and what to write instead.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(("the configuration cannot be used:", *(f"  - {line}" for line in self.problems))))


class NotificationError(DispatcherError, ValueError):
    """A notification breaks a rule; refused before anything is stored.

    Attributes:
        field: Name of the offending argument.
        rule: The rule in words, with its limit; never a payload or a whole device token.
    """

    def __init__(self, field: str, rule: str) -> None:
        self.field = field
        self.rule = rule
        super().__init__(f"{field}: {rule}")


class ConflictError(NotificationError):
    """The apns id or idempotency key was used before, within its window, for a notification with other content."""


class EnqueueError(DispatcherError):
    """The state server did not confirm that it took the notification.

    Sending the same notification again with its id of `apns_ids` as `apns_id`, or with the idempotency key of the
    first call, is accepted once, whatever happened to that.

    Attributes:
        certainly_not_accepted: True when nothing was stored; False when it may have been.
        apns_ids: The apns ids the call would have used; of a bulk call the batch in doubt.
        accepted: What a bulk call had accepted before; None for others.
    """

    accepted: BulkReceipt | None = None

    def __init__(self, reason: str, *, certainly_not_accepted: bool, apns_ids: Sequence[str] = ()) -> None:
        self.certainly_not_accepted = certainly_not_accepted
        self.apns_ids = tuple(apns_ids)
        outcome = "not accepted" if certainly_not_accepted else "may have been accepted"
        super().__init__(f"{outcome}: {reason}")


class Backpressure(EnqueueError):  # noqa: N818  (a state of things, not a fault)
    """The state server or a queue is too full; certainly nothing was accepted.

    Attributes:
        mark: What was reached: max_memory_share or max_waiting of the configuration file's `[enqueue]`, or maxmemory of
            the state server itself.
        queue: Which queue; None if all are concerned.
    """

    def __init__(self, reason: str, *, mark: str, queue: str | None = None, apns_ids: Sequence[str] = ()) -> None:
        self.mark = mark
        self.queue = queue
        super().__init__(reason, certainly_not_accepted=True, apns_ids=apns_ids)


class UnsafeServerError(EnqueueError):
    """The state server would lose what it accepts, which production does not allow; certainly nothing was accepted."""

    def __init__(self, reason: str, *, apns_ids: Sequence[str] = ()) -> None:
        super().__init__(reason, certainly_not_accepted=True, apns_ids=apns_ids)


class StateServerError(DispatcherError):
    """The state server does not answer a question."""


class MessageError(DispatcherError):
    """A record or message that no retry can make readable."""


class SigningError(DispatcherError):
    """A signing key cannot be read or cannot sign."""


class TransportError(DispatcherError):
    """A push ended without an answer.

    Attributes:
        maybe_sent: False only when Apple certainly did not process the push.
        carried_by: Number of the connection that carried it last, unique in its process; None if none did.
    """

    def __init__(self, reason: str, *, maybe_sent: bool, carried_by: int | None = None) -> None:
        self.reason = reason
        self.maybe_sent = maybe_sent
        self.carried_by = carried_by
        super().__init__(f"{reason} ({'may have been sent' if maybe_sent else 'not sent'})")


class MissingExtraError(DispatcherError, ImportError):
    """A part of this package was used without its extra."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs the extra '{extra}': pip install 'apns-dispatcher[{extra}]'")
