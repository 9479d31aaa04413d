"""A web app that goes on whatever happens to the state, and what became of everything it was told is accepted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any, Final, Self

from dispatcher import Dispatcher, EnqueueError, Feedback, Report
from dispatcher.dev.simulator.device_tokens import device_token

APP: Final = "com.example.app"
_PAUSE_S: Final = 0.01
#: No device gets two: background notifications would wait for each other.
_NUMBERS: Final = count()
#: What was in a worker's hands is sent again once its lease has ended, by a worker that sends one by one then.
_AGAIN_WITHIN_S: Final = 60.0

#: Provider tokens change at the same time everywhere, a little after the window's begin.
_WINDOW_S, _MARGIN_S = 1800, 60
#: The fleet's clock is moved ahead of the simulator's.
_CLOCK_AHEAD_S: Final = 200

Send = Callable[[Dispatcher, str, dict[str, Any]], str]

LANES: Final[Mapping[str, Send]] = {
    "voip": lambda push, device, options: push.voip(APP, device, {"call": "8e21"}, expires_in=300, **options).apns_id,
    "alert": lambda push, device, options: push.alert(APP, device, title="Hello", **options).apns_id,
    "background": lambda push, device, options: push.background(APP, device, {"sync": "inbox"}, **options).apns_id,
}


@dataclass(slots=True, kw_only=True)
class Load:
    """Pushes of one lane after another, each to a device of its own, until it is told to stop.

    Attributes:
        push: Whose calls.
        accepted: Apns id -> when it was accepted, Unix seconds.
        failures: How often a call failed and was made again.
        slowest_s: The longest that a call took.
    """

    push: Dispatcher
    accepted: dict[str, float] = field(default_factory=dict)
    failures: int = 0
    slowest_s: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def accepted_between(self, begin: float, end: float) -> list[str]:
        """Return what was accepted in a time, Unix seconds."""
        return [apns_id for apns_id, at in tuple(self.accepted.items()) if begin <= at < end]

    def _run(self) -> None:
        for send in cycle(LANES.values()):
            if self._stopped.wait(_PAUSE_S):
                return
            self._send(send, device_token(next(_NUMBERS)))

    def _send(self, send: Send, device: str) -> None:
        """Send one, under the same apns id until it is accepted, as a web app would."""
        options: dict[str, Any] = {"report": Report.EVERYTHING, "track": True}
        while True:
            began = time.monotonic()
            try:
                apns_id = send(self.push, device, options)
            except EnqueueError as exc:
                self.failures += 1
                (options["apns_id"],) = exc.apns_ids
            else:
                self.accepted[apns_id] = time.time()
                return
            finally:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if self._stopped.wait(_PAUSE_S):
                return


def check_ends(load: Load, records: Sequence[Feedback], requests: Sequence[Mapping[str, Any]], killed_at: float) -> str:
    """Check that everything accepted ended once, and that repeats came of the failover only; say it in a line."""
    ends = Counter(record.apns_id for record in records if record.apns_id in load.accepted)
    assert ends.keys() == load.accepted.keys()
    assert set(ends.values()) == {1}, "each has one end"
    sent_at: dict[str, list[float]] = {}
    for request in requests:
        sent_at.setdefault(request["apns_id"], []).append(request["at"])
    assert sent_at.keys() >= load.accepted.keys()
    repeats = [at for apns_id in load.accepted for at in sent_at[apns_id][1:]]
    assert all(killed_at <= at <= killed_at + _AGAIN_WITHIN_S for at in repeats)
    assert len({request["provider_token"] for request in requests}) <= _windows(requests)
    return f"accepted {len(load.accepted)}, calls made again {load.failures}, sent twice {len(repeats)}"


def _windows(requests: Sequence[Mapping[str, Any]]) -> int:
    """Return how many windows of provider tokens the requests lie in."""
    first, last = (edge(request["at"] for request in requests) - _MARGIN_S for edge in (min, max))
    return int((last + _CLOCK_AHEAD_S) // _WINDOW_S - first // _WINDOW_S) + 1
