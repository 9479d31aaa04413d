"""A simulator on a loop and thread of its own, for whoever is not asynchronous: tests, most of all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from dispatcher.dev.simulator.certificates import CA_FILE
from dispatcher.dev.simulator.exchange import Clock
from dispatcher.dev.simulator.fault_rules import Faults
from dispatcher.dev.simulator.phone import Phone
from dispatcher.dev.simulator.request_log import LoggedRequest
from dispatcher.dev.simulator.server import Simulator
from dispatcher.dev.simulator.settings import STRICT, SimulatorSettings
from dispatcher.dev.simulator.world import CONFIG_FILE

_PATIENCE_S: Final = 10.0
_POLL_S: Final = 0.005
_T = TypeVar("_T")


class SimulatorThread:
    """A running simulator, from `with` to its end; everything may be called from any thread.

    Args:
        directory: Where it keeps its keys, certificates and configuration; created when missing.
        clock: Returns simulated Unix seconds.
        requests_file: Where each request is appended as a line of JSON.

    Attributes:
        simulator: Itself, for what is not offered here: to be used through `call` alone.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: SimulatorSettings = STRICT,
        clock: Clock = time.time,
        requests_file: Path | None = None,
    ) -> None:
        self.directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="APNs simulator", daemon=True)
        self._thread.start()
        try:
            self.simulator: Simulator = self.call(
                lambda: Simulator(directory, settings=settings, clock=clock, requests_file=requests_file)
            )
            self.wait_for(self.simulator.start)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        """Return it: it runs since it was made."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where to send pushes."""
        return self.simulator.url

    @property
    def ca_file(self) -> Path:
        """Whom a client has to trust."""
        return self.directory / CA_FILE

    @property
    def config_file(self) -> Path:
        """What `APNS_CONFIG` has to name for a dispatcher to push here."""
        return self.directory / CONFIG_FILE

    @property
    def faults(self) -> Faults:
        """What shall go wrong, and when."""
        return self.simulator.faults

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """What has arrived, oldest first, as many as the settings let it remember."""
        return self.call(lambda: self.simulator.requests)

    def wait_for_requests(self, number: int, *, within_s: float = _PATIENCE_S) -> tuple[LoggedRequest, ...]:
        """Return what has arrived, once it is so many.

        Raises:
            TimeoutError: Fewer have arrived in time.
        """
        deadline = time.monotonic() + within_s
        while len(arrived := self.requests) < number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(arrived)} of {number} requests have arrived within {within_s:g} s")
            time.sleep(_POLL_S)
        return arrived

    def phone(self, *device_tokens: str) -> Phone:
        """Return the phone with these device tokens, of one app; turned on when first asked for."""
        return self.call(lambda: self.simulator.phone(*device_tokens))

    def call(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Call a function on the simulator's loop and return its result."""

        async def on_loop() -> _T:
            return function(*arguments)

        return self.wait_for(on_loop)

    def wait_for(self, function: Callable[[], Awaitable[_T]]) -> _T:
        """Run a coroutine function on the simulator's loop and return its result."""

        async def on_loop() -> _T:
            return await function()

        return asyncio.run_coroutine_threadsafe(on_loop(), self._loop).result(_PATIENCE_S)

    def stop(self) -> None:
        """Say goodbye to every client and end."""
        try:
            self.wait_for(self.simulator.stop)
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()
