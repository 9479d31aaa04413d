"""Parts of a worker for tests that are about something else: an app, and a fleet in which nothing is ever paused."""

from __future__ import annotations

from dispatcher.push_types import Environment, Lane
from dispatcher.settings import App

APP = App(
    bundle_id="com.example.app",
    key_id="KEYID12345",
    environment=Environment.PRODUCTION,
    background_per_hour=3,
    background_spacing_s=1200.0,
)


class NothingPaused:
    """A fleet in which nothing is ever paused."""

    def is_paused(self, app: str, lane: Lane) -> bool:  # noqa: ARG002
        """Tell whether an app's notifications of a lane are parked."""
        return False

    async def take_probe(self, app: str, lane: Lane) -> bool:  # noqa: ARG002
        """Ask whether one notification may be sent all the same."""
        return False
