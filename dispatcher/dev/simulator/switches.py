"""What a test can switch on a running simulator."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random


class Hold:
    """While set, answers are held back; requests are still judged and logged.

    Used like an event, from the event loop only.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._on_clear: dict[int, Callable[[], None]] = {}

    def is_set(self) -> bool:
        """Tell whether answers are held back."""
        return self._is_set

    def set(self) -> None:
        """Hold back answers from now on."""
        self._is_set = True

    def clear(self) -> None:
        """Let everything held back go, and what comes after."""
        self._is_set = False
        for release in list(self._on_clear.values()):
            release()

    def subscribe(self, number: int, release: Callable[[], None]) -> None:
        """Have `release` called at every clear, until unsubscribed."""
        self._on_clear[number] = release

    def unsubscribe(self, number: int) -> None:
        """End a subscription."""
        self._on_clear.pop(number, None)


class Switches:
    """Delays and silence that can be changed at any time; everything else that goes wrong is in `faults`.

    Attributes:
        swallow: Never answer.
        hold: Hold back answers.
        latency_s: How long each answer waits; with a spread the median.
        latency_spread: Width of the log-normal distribution around it.
    """

    __slots__ = ("_dice", "hold", "latency_s", "latency_spread", "swallow")

    def __init__(self, *, latency_s: float = 0.0, latency_spread: float = 0.0, seed: int = 0) -> None:
        self.swallow = False
        self.hold = Hold()
        self.latency_s = latency_s
        self.latency_spread = latency_spread
        self._dice = Random(seed)  # noqa: S311 (dice, no secrets)

    @property
    def is_answering(self) -> bool:
        """Whether an answer that is ready now would go out."""
        return not self.swallow and not self.hold.is_set()

    def draw_latency(self) -> float:
        """Return how many seconds the next answer waits."""
        if not self.latency_s or not self.latency_spread:
            return self.latency_s
        return self.latency_s * math.exp(self.latency_spread * self._dice.gauss(0.0, 1.0))
