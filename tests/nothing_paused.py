"""A fleet in which nothing is ever paused, for tests that are about something else."""

from __future__ import annotations

from dispatcher.push_types import Lane


class NothingPaused:
    """A fleet in which nothing is ever paused."""

    def is_paused(self, app: str, lane: Lane) -> bool:  # noqa: ARG002
        """Tell whether an app's notifications of a lane are parked."""
        return False

    async def take_probe(self, app: str, lane: Lane) -> bool:  # noqa: ARG002
        """Ask whether one notification may be sent all the same."""
        return False
