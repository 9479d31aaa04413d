"""Make the planned calls as a web app would, and note what its receipts say."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import time
from typing import Final

from dispatcher import Dispatcher, ids
from dispatcher.dev.demo.ledger import Sent
from dispatcher.dev.demo.plan import APP, Call
from dispatcher.notification import BatchReceipt, Notification, Report
from dispatcher.push_types import PUSH_TYPES, Lane

_REPORT: Final = Report.EVERYTHING


@dataclass(slots=True, kw_only=True)
class Producer:
    """A producer that keeps what its receipts say.

    Attributes:
        push: What it calls.
        sent: Every accepted notification.
        refused: How many device tokens each lane's bulk calls refused.
    """

    push: Dispatcher
    sent: list[Sent] = field(default_factory=list)
    refused: dict[Lane, int] = field(default_factory=dict)

    def make(self, call: Call) -> None:
        """Make a call.

        Raises:
            NotificationError: The plan breaks a rule.
            EnqueueError: The state server did not confirm it.
        """
        before = time()
        if call.is_bulk:
            self._send_many(call, before)
        else:
            self._note(self._send(call), call, call.device_tokens[0], before)

    def _send(self, call: Call) -> str:
        notification = Notification(
            app=APP,
            push_type=call.push_type,
            device_token=call.device_tokens[0],
            payload=call.payload,
            expires_in=call.expires_in,
            report=_REPORT,
        )
        return self.push.send(notification).apns_id

    def _send_many(self, call: Call, before: float) -> None:
        receipt = self.push.send_many(
            APP,
            (*call.malformed, *call.device_tokens),
            payload=call.payload,
            push_type=call.push_type,
            expires_in=call.expires_in,
            report=_REPORT,
        )
        self.refused[receipt.lane] = self.refused.get(receipt.lane, 0) + receipt.refused
        apns_ids = (apns_id for batch in receipt.batches for apns_id in _apns_ids(batch))
        for apns_id, device_token in zip(apns_ids, call.device_tokens, strict=True):
            self._note(apns_id, call, device_token, before)

    def _note(self, apns_id: str, call: Call, device_token: str, before: float) -> None:
        sent = Sent(
            apns_id=apns_id,
            lane=PUSH_TYPES[call.push_type].lane,
            device_token=device_token,
            at=before,
            outcomes=call.outcomes,
            version=call.version,
            replayed_outcome=call.replayed_outcome,
        )
        self.sent.append(sent)


def _apns_ids(batch: BatchReceipt) -> list[str]:
    return [ids.apns_id_of(batch.batch_id, index) for index in range(batch.count)]
