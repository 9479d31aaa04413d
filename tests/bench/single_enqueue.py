"""One notification enqueued, beside a bare `send_task` of stock Celery with the same content."""

from __future__ import annotations

from collections.abc import Iterator
from time import process_time
from typing import Final

from celery import Celery

from tests.bench.processor import US
from tests.bench.pushes import APP, PAYLOAD, device_token
from tests.bench.results import Row, Unit, compare, must_agree, ratios
from tests.bench.sizes import Sizes
from tests.bench.state import Producer, counted, messages, producer

_BARE_QUEUE: Final = "bare"
_WARM_UP: Final = 50


def measure(sizes: Sizes) -> Iterator[Row]:
    """Compare the producer's processor time of `push.alert` and of a bare `send_task`."""
    with producer() as stage:
        contest = _Contest(stage, sizes.singles)
        ours, theirs = compare(sizes.rounds, contest.ours, contest.bare)
        contest.check()
        yield Row(
            what="single enqueue, against a bare send_task", unit=Unit.RATIO, values=ratios(ours, theirs), aim=1.5
        )
        yield Row(what="  push.alert", unit=Unit.US, values=ours)
        yield Row(what="  bare send_task", unit=Unit.US, values=theirs)


class _Contest:
    def __init__(self, stage: Producer, count: int) -> None:
        self._stage = stage
        self._count = count
        self._bare = Celery("bare", broker=stage.broker_url, set_as_current=False)
        self._our_total = self._bare_total = 0
        for number in range(_WARM_UP):
            self._send_ours(number)
            self._send_bare(number)

    def ours(self) -> float:
        """Return the microseconds of one `push.alert`."""
        before = process_time()
        for number in range(self._count):
            self._send_ours(number)
        return (process_time() - before) / self._count * US

    def bare(self) -> float:
        """Return the microseconds of one bare `send_task`."""
        before = process_time()
        for number in range(self._count):
            self._send_bare(number)
        return (process_time() - before) / self._count * US

    def check(self) -> None:
        """Compare what was sent with what lies in queues and state server."""
        state = self._stage.state
        must_agree("accepted", expected=self._our_total, found=counted(state, "accepted"))
        must_agree("our messages", expected=self._our_total, found=messages(state, "apns.alert"))
        must_agree("bare messages", expected=self._bare_total, found=messages(state, _BARE_QUEUE))
        self._bare.close()

    def _send_ours(self, number: int) -> None:
        self._our_total += 1
        self._stage.push.alert(APP, device_token(number), title="A message from a friend", body="x" * 150, badge=1)

    def _send_bare(self, number: int) -> None:
        self._bare_total += 1
        self._bare.send_task("push", args=[APP, device_token(number), PAYLOAD], queue=_BARE_QUEUE, ignore_result=True)
