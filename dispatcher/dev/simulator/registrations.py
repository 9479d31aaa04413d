"""Device tokens of which more is known than their digits say: the one topic they serve, or when they died.

Source: "Registering your app with APNs"; "Handling notification responses from APNs", Unregistered and ExpiredToken.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.push_types import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is known of one device token.

    Attributes:
        topic: The only one it serves; None for any.
        environment: The only one it lives in; None for both.
        died_at: Simulated Unix seconds from which pushes get 410; None while it lives.
        reason: Apple's word for its death.
    """

    topic: str | None = None
    environment: Environment | None = None
    died_at: float | None = None
    reason: str = "Unregistered"


class Registrations:
    """Remembers device tokens. May be changed at any time, from any thread."""

    def __init__(self) -> None:
        self._registrations: dict[str, Registration] = {}

    def get(self, device_token: str | None) -> Registration | None:
        """Return what is known of a lower-case device token."""
        return self._registrations.get(device_token) if device_token else None

    def register(self, device_token: str, *, topic: str | None = None, environment: Environment | None = None) -> None:
        """Let a device token live, though its digits or an earlier death say otherwise."""
        self._registrations[device_token.lower()] = Registration(topic=topic, environment=environment)

    def unregister(self, device_token: str, *, died_at: float, reason: str = "Unregistered") -> None:
        """Let a device token be dead from a moment on; what else is known of it stays."""
        known = self._registrations.get(device_token.lower(), Registration())
        self._registrations[device_token.lower()] = Registration(
            topic=known.topic, environment=known.environment, died_at=died_at, reason=reason
        )
