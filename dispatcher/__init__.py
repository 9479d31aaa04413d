"""Dispatch Apple push notifications from a web app: one call, and a fleet of workers does the rest.

    from dispatcher import Dispatcher

    push = Dispatcher.from_env()
    push.alert("com.example.app", device_token, title="Hello")

Importing this package loads no worker code and never touches a signing key.
"""

from __future__ import annotations

from dispatcher._shadow import refuse_foreign_workers

refuse_foreign_workers(__file__)

from dispatcher.cancellation import Cancellation  # noqa: E402  a foreign `workers` is refused before anything is loaded
from dispatcher.enqueue import Dispatcher  # noqa: E402
from dispatcher.errors import (  # noqa: E402
    Backpressure,
    ConflictError,
    DispatcherError,
    EnqueueError,
    MessageError,
    MissingExtraError,
    NotificationError,
    SettingsError,
    StateServerError,
    UnsafeServerError,
)
from dispatcher.feedback import Feedback, Outcome  # noqa: E402
from dispatcher.feedback_reader import FeedbackReader  # noqa: E402
from dispatcher.notification import (  # noqa: E402
    BatchReceipt,
    BulkReceipt,
    Notification,
    Receipt,
    Refusal,
    Report,
)
from dispatcher.push_types import Environment, Lane  # noqa: E402
from dispatcher.settings import Settings  # noqa: E402
from dispatcher.slot_values import Released  # noqa: E402
from dispatcher.status import State, Status  # noqa: E402

__all__ = [
    "Backpressure",
    "BatchReceipt",
    "BulkReceipt",
    "Cancellation",
    "ConflictError",
    "Dispatcher",
    "DispatcherError",
    "EnqueueError",
    "Environment",
    "Feedback",
    "FeedbackReader",
    "Lane",
    "MessageError",
    "MissingExtraError",
    "Notification",
    "NotificationError",
    "Outcome",
    "Receipt",
    "Refusal",
    "Released",
    "Report",
    "Settings",
    "SettingsError",
    "State",
    "StateServerError",
    "Status",
    "UnsafeServerError",
]
