"""What a simulator does where Apple's pages leave a choice, as settings with the values that Apple's pages suggest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dispatcher.push_types import Environment


class ChurnScope(StrEnum):
    """What Apple remembers provider tokens by, to find senders that change them too often."""

    CONNECTION = "connection"
    SOURCE_ADDRESS = "source_address"
    KEY = "key"


class TokenIdentity(StrEnum):
    """When two provider tokens are the same one: equal in every byte, or made at the same second."""

    BYTES = "bytes"
    ISSUED_AT = "issued_at"


class IdleManner(StrEnum):
    """How a connection ends that was idle too long."""

    GOAWAY = "goaway"
    CLOSE = "close"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """What one simulator does where Apple's pages leave a choice.

    Attributes:
        environment: Which of Apple's two worlds this is; None accepts keys of both.
        churn_scope: Where changes of the provider token are counted.
        churn_window_s: How long a change counts.
        distinct_tokens_allowed: Provider tokens of one key that may first appear within the window.
        token_identity: When two provider tokens count as one.
        wedge_after_expired: A connection that carried an expired provider token is refused for ever.
        has_documented_spelling: Write BadEnvironmentKeyIdInToken, as Apple's table does and Apple's servers do not.
        initial_streams: Concurrent streams before a valid provider token was seen.
        full_streams: Concurrent streams afterwards.
        reduce_streams_on_refusal: A refused push takes the streams back to `initial_streams` until the next 200.
        refusals_allowed: Refusals (410 apart) on a connection before it is ended; 0 for any number.
        bad_device_tokens_allowed: The same for BadDeviceToken alone.
        returns_window: Give the sender credit for payloads received.
        idle_limit_s: Simulated seconds without a request after which a connection is ended; 0 for never.
        idle_manner: How it is ended then.
        error_after_idle_s: Simulated idle seconds after which a connection answers nothing but 500; 0 for never.
        connects_per_minute: Connections of one address within a simulated minute before more are reset; 0 for any.
        is_strict_on_priority: Refuse priorities that Apple's text calls an error, though it may accept them.
        max_expiration: Largest apns-expiration in Unix seconds; None for any. Finds milliseconds.
        knows_every_device_token: Unless registered otherwise every well-formed one is a living device of every topic.
        device_burst: Pushes to one device token within the window before TooManyRequests; 0 for any number.
        device_burst_window_s: That window; it begins with a device's first push.
        max_stored: Undelivered notifications kept; the oldest goes first.
        background_per_hour: Background pushes that a phone hands to its app within an hour; what is above is held.
        uninstall_notice_s: Simulated seconds after which Apple knows that an app was uninstalled. Apple blurs it.
        max_channels: Broadcast channels of an app.
        latency_s: How long each answer waits.
        latency_spread: Width of the log-normal distribution around `latency_s`, its median; 0 for none, 0.5 for a
            99th percentile of three times the median.
        requests_remembered: Requests kept in memory for whoever runs the simulator in its own process.
        seed: Of all dice: fault rates and latencies.
    """

    environment: Environment | None = None
    churn_scope: ChurnScope = ChurnScope.CONNECTION
    churn_window_s: float = 1200.0
    distinct_tokens_allowed: int = 1
    token_identity: TokenIdentity = TokenIdentity.BYTES
    wedge_after_expired: bool = True
    has_documented_spelling: bool = False
    initial_streams: int = 1
    full_streams: int = 1000
    reduce_streams_on_refusal: bool = False
    refusals_allowed: int = 0
    bad_device_tokens_allowed: int = 0
    returns_window: bool = True
    idle_limit_s: float = 0.0
    idle_manner: IdleManner = IdleManner.GOAWAY
    error_after_idle_s: float = 0.0
    connects_per_minute: int = 0
    is_strict_on_priority: bool = True
    max_expiration: int | None = 10**11
    knows_every_device_token: bool = True
    device_burst: int = 20
    device_burst_window_s: float = 1.0
    max_stored: int = 100_000
    background_per_hour: int = 3
    uninstall_notice_s: float = 86_400.0
    max_channels: int = 10_000
    latency_s: float = 0.0
    latency_spread: float = 0.0
    requests_remembered: int = 0
    seed: int = 0


#: Apple's sentences are law: finds our own mistakes.
STRICT: Final = SimulatorSettings()

#: What Apple's servers are known or believed to do.
OBSERVED: Final = SimulatorSettings(
    churn_scope=ChurnScope.SOURCE_ADDRESS,
    distinct_tokens_allowed=2,
    is_strict_on_priority=False,
    max_expiration=None,
)
