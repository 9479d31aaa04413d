"""Ask a quiet connection for a sign of life, trust it only after one, and end a connection nobody uses.

Source: "Communicating with APNs": keep connections open, send a PING after an hour of quiet. NAT gateways on the way
forget a connection after minutes, and say so to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepaliveTimes:
    """When a connection is asked for a sign of life, and when it ends.

    Attributes:
        trust_s: Silence after which no push is sent before a PING was answered.
        quiet_s: Silence after which a PING is sent though nobody waits. Below the 350 s after which common NAT gateways
            forget.
        pong_s: How long its answer may take; one that waits for it waits no longer than that.
        idle_s: Time without a push after which the connection closes.
    """

    trust_s: float = 60.0
    quiet_s: float = 240.0
    pong_s: float = 3.0
    idle_s: float = 4 * 3600.0


class Keepalive:
    """Watches one connection with one timer, not touched by its pushes.

    Attributes:
        is_trusted: Whether a push may be sent now, as far as signs of life tell.
        pushed_at: When the last push was sent, on the loop's clock; kept by the connection.
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
        self.is_trusted = True
        self.pushed_at = self._heard_at = loop.time()
        self._loop = loop
        self._times = times
        self._ping = ping
        self._on_idle = on_idle
        self._on_silent = on_silent
        self._is_asking = False
        self._watch()

    def stop(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def hear(self) -> None:
        """Note that APNs said something, whatever it was."""
        self._heard_at = self._loop.time()
        self.is_trusted = True
        if self._is_asking:
            self._is_asking = False
            self._timer.cancel()
            self._watch()

    def ask(self) -> None:
        """Trust the connection no more until it answers the PING sent now, or the one under way."""
        self.is_trusted = False
        if not self._is_asking:
            self._timer.cancel()
            self._send_ping()

    def _watch(self) -> None:
        self._timer = self._loop.call_later(min(self._times.trust_s, self._times.quiet_s), self._look)

    def _look(self) -> None:
        now = self._loop.time()
        quiet_s = now - self._heard_at
        if self._is_asking:
            self._on_silent()
        elif now - self.pushed_at >= self._times.idle_s:
            self._on_idle()
        elif quiet_s >= self._times.quiet_s:
            self._send_ping()
        else:
            self.is_trusted = quiet_s < self._times.trust_s
            next_s = self._times.trust_s if self.is_trusted else self._times.quiet_s
            self._timer = self._loop.call_later(min(next_s, self._times.quiet_s) - quiet_s, self._look)

    def _send_ping(self) -> None:
        self._is_asking = True
        self.is_trusted = False
        self._timer = self._loop.call_later(self._times.pong_s, self._look)
        self._ping()
