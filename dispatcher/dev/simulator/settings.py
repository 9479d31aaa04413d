"""How strict the simulator is, and every number that Apple does not publish."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dispatcher.push_types import Environment


class ChurnScope(StrEnum):
    """What Apple remembers provider tokens by, to find senders that change them too often."""

    CONNECTION = "connection"
    SOURCE_ADDRESS = "source_address"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """What one simulator does where Apple's pages leave a choice.

    Attributes:
        environment: Which of Apple's two worlds this is; None accepts keys of both.
        churn_scope: Where changes of the provider token are counted.
        churn_window_s: How long a change counts.
        distinct_tokens_allowed: Provider tokens of one key that may first appear within the window.
        wedge_after_expired: A connection that carried an expired provider token is refused for ever.
        initial_streams: Concurrent streams before a valid provider token was seen.
        full_streams: Concurrent streams afterwards.
        reduce_streams_on_refusal: A refused push takes the streams back to `initial_streams` until the next 200.
        is_strict_on_priority: Refuse priorities that Apple's text calls an error, though it may accept them.
        max_expiration: Largest apns-expiration in Unix seconds; None for any. Finds milliseconds.
        device_burst: Pushes to one device token within the window before TooManyRequests; 0 for any number.
        device_burst_window_s: That window; it begins with a device's first push.
        max_stored: Undelivered notifications kept; the oldest goes first.
        latency_s: How long each answer waits.
    """

    environment: Environment | None = None
    churn_scope: ChurnScope = ChurnScope.CONNECTION
    churn_window_s: float = 1200.0
    distinct_tokens_allowed: int = 1
    wedge_after_expired: bool = True
    initial_streams: int = 1
    full_streams: int = 1000
    reduce_streams_on_refusal: bool = False
    is_strict_on_priority: bool = True
    max_expiration: int | None = 10**11
    device_burst: int = 20
    device_burst_window_s: float = 1.0
    max_stored: int = 100_000
    latency_s: float = 0.0


#: Apple's sentences are law: finds our own mistakes.
STRICT: Final = SimulatorSettings()

#: What Apple's servers are known or believed to do.
OBSERVED: Final = SimulatorSettings(
    churn_scope=ChurnScope.SOURCE_ADDRESS,
    distinct_tokens_allowed=2,
    is_strict_on_priority=False,
    max_expiration=None,
)
