"""Broadcast channels: which exist, of which app, and what they store.

Source: "Sending channel management requests to APNs".
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A broadcast channel.

    Attributes:
        channel_id: Base64, made by Apple.
        storage_policy: 0 stores nothing, 1 the most recent message.
    """

    channel_id: str
    bundle_id: str
    storage_policy: int


class Channels:
    """The channels of all apps.

    Args:
        max_channels: Of one app.
    """

    def __init__(self, *, max_channels: int) -> None:
        self._max_channels = max_channels
        self._channels: dict[str, dict[str, Channel]] = {}

    def create(self, bundle_id: str, storage_policy: int) -> Channel | None:
        """Return a new channel, None when the app has as many as it may."""
        channels = self._channels.setdefault(bundle_id, {})
        if len(channels) >= self._max_channels:
            return None
        channel_id = base64.b64encode(uuid.uuid4().bytes).decode()
        channels[channel_id] = Channel(channel_id=channel_id, bundle_id=bundle_id, storage_policy=storage_policy)
        return channels[channel_id]

    def get(self, bundle_id: str, channel_id: str) -> Channel | None:
        """Return a channel of an app, if there is one of this id."""
        return self._channels.get(bundle_id, {}).get(channel_id)

    def delete(self, bundle_id: str, channel_id: str) -> None:
        """Delete a channel for ever."""
        self._channels.get(bundle_id, {}).pop(channel_id, None)

    def of(self, bundle_id: str) -> Iterable[str]:
        """Return the ids of an app's channels."""
        return tuple(self._channels.get(bundle_id, {}))
