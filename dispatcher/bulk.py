"""Keep count of a bulk call: what was accepted, what was refused and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from dispatcher.errors import NotificationError
from dispatcher.notification import BatchReceipt, BulkReceipt, Refusal
from dispatcher.push_types import Lane
from dispatcher.validation import checked_device_token

#: Refusals kept in full; the rest are only counted, so that memory stays bounded.
MAX_REFUSALS: Final = 1000


class Tally:
    """The running count of one bulk call."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._batches: list[BatchReceipt] = []
        self._refusals: list[Refusal] = []
        self._accepted = self._refused = self._replaced = self._repeated = 0

    def checked(self, device_tokens: Iterable[str]) -> Iterator[str]:
        """Yield the valid device tokens in lower case; note the others as refused.

        Raises:
            NotificationError: It is one string, whose characters would be taken for device tokens.
        """
        if isinstance(device_tokens, (str, bytes)):
            raise NotificationError("device_tokens", "must be an iterable of device tokens, not one string")
        for position, device_token in enumerate(device_tokens):
            try:
                valid = checked_device_token(device_token)
            except NotificationError as exc:
                self._refuse(position, exc)
            else:
                yield valid

    def add(self, batch: BatchReceipt, *, replaced: int = 0, repeated: int = 0) -> None:
        """Note an accepted batch."""
        self._batches.append(batch)
        self._accepted += batch.count
        self._replaced += replaced
        self._repeated += repeated

    def receipt(self) -> BulkReceipt:
        """Return what the caller gets."""
        return BulkReceipt(
            lane=self._lane,
            accepted=self._accepted,
            refused=self._refused,
            refusals=tuple(self._refusals),
            batches=tuple(self._batches),
            replaced=self._replaced,
            repeated=self._repeated,
        )

    def _refuse(self, position: int, exc: NotificationError) -> None:
        self._refused += 1
        if len(self._refusals) < MAX_REFUSALS:
            self._refusals.append(Refusal(position=position, field=exc.field, rule=exc.rule))
