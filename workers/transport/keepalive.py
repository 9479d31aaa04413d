"""Ask a quiet connection for a sign of life, and end one nobody uses.

Source: "Communicating with APNs": keep connections open, send a PING after an hour of quiet. NAT gateways on the way
forget a connection after minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepaliveTimes:
    """When a connection is asked for a sign of life, and when it ends.

    Attributes:
        quiet_s: Silence after which a PING is sent. Below the 350 s after which common NAT gateways forget.
        pong_s: How long its answer may take.
        idle_s: Time without a push after which the connection closes.
    """

    quiet_s: float = 240.0
    pong_s: float = 15.0
    idle_s: float = 4 * 3600.0


class Keepalive:
    """Watches one connection with one timer, not touched by its pushes.

    Attributes:
        heard_at: When APNs last said anything, on the loop's clock; kept by the connection.
        pushed_at: When the last push was sent, likewise.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        times: KeepaliveTimes,
        *,
        ping: Callable[[], None],
        on_idle: Callable[[], None],
        on_silent: Callable[[], None],
    ) -> None:
        self.heard_at = self.pushed_at = loop.time()
        self._loop = loop
        self._times = times
        self._ping = ping
        self._on_idle = on_idle
        self._on_silent = on_silent
        self._timer = loop.call_later(times.quiet_s, self._look)

    def stop(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        quiet_s = now - self.heard_at
        if now - self.pushed_at >= self._times.idle_s:
            self._on_idle()
        elif quiet_s < self._times.quiet_s:
            self._timer = self._loop.call_later(self._times.quiet_s - quiet_s, self._look)
        else:
            self._ping()
            self._timer = self._loop.call_later(self._times.pong_s, self._expect_pong, now)

    def _expect_pong(self, asked_at: float) -> None:
        if self.heard_at < asked_at:
            self._on_silent()
        else:
            self._look()
