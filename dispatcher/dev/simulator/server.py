"""The simulator as a whole: opens its directory, listens, and counts its connections."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dispatcher.dev.simulator.case import Shared
from dispatcher.dev.simulator.certificates import open_tls_context
from dispatcher.dev.simulator.config_file import write_config
from dispatcher.dev.simulator.connection import ApnsConnection
from dispatcher.dev.simulator.devices import Devices
from dispatcher.dev.simulator.exchange import Clock, Exchange
from dispatcher.dev.simulator.provider_tokens import ProviderTokenReader, TokenHistory
from dispatcher.dev.simulator.request_log import RequestLog
from dispatcher.dev.simulator.settings import STRICT, ChurnScope, SimulatorSettings
from dispatcher.dev.simulator.stats import Stats
from dispatcher.dev.simulator.storage import Storage
from dispatcher.dev.simulator.switches import Switches
from dispatcher.dev.simulator.world import World, open_world
from dispatcher.push_types import Environment

HOST: Final = "127.0.0.1"
_GOODBYE_S: Final = 0.5
#: Longer than that, so that a connection ends by our own hand.
_TLS_GOODBYE_S: Final = 5.0


class Simulator:
    """Apple's push service on this machine, from `async with` to its end.

    Everything is used from the event loop it runs on.

    Args:
        directory: Where it keeps its keys, certificates and configuration; created when missing.
        port: 0 for a free one.
        clock: Returns simulated Unix seconds.
        requests_file: Where each request is appended as a line of JSON.

    Attributes:
        stats: Counts of requests and answers.
        storage: What waits for devices.
        switches: Faults to switch on and off: swallow, hold, latency_s.
        world: The keys and topics that exist.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        settings: SimulatorSettings = STRICT,
        clock: Clock = time.time,
        requests_file: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.world: World = open_world(directory)
        self.stats = Stats()
        self.storage = Storage(max_stored=settings.max_stored)
        self.switches = Switches(latency_s=settings.latency_s)
        self._settings = settings
        self._port = port
        self._exchange = Exchange(
            shared=_share(settings, self.world),
            storage=self.storage,
            stats=self.stats,
            log=RequestLog(requests_file),
            switches=self.switches,
            clock=clock,
        )
        self._histories: defaultdict[str, TokenHistory] = defaultdict(self._new_history)
        self._connections: set[ApnsConnection] = set()
        self._numbers = itertools.count(1)

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._port

    @property
    def url(self) -> str:
        """Where to send pushes, once started."""
        return f"https://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Listen, and write the configuration that leads here.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(
            self._new_connection,
            HOST,
            self._port,
            ssl=open_tls_context(self.directory),
            ssl_shutdown_timeout=_TLS_GOODBYE_S,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        environment = self._settings.environment or Environment.PRODUCTION
        write_config(self.directory, url=self.url, environment=environment)

    async def stop(self) -> None:
        """Say goodbye to every client, close, and write the rest of the log."""
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._wait_for_goodbyes()
        for connection in list(self._connections):
            connection.abort()
        await self._wait_for_goodbyes()
        self._exchange.log.close()

    async def _wait_for_goodbyes(self) -> None:
        # A client that does not listen is not waited for: what comes next is firmer.
        gone = [connection.gone for connection in self._connections]
        if gone:
            await asyncio.wait(gone, timeout=_GOODBYE_S)

    def _new_connection(self) -> ApnsConnection:
        return ApnsConnection(
            number=next(self._numbers),
            exchange=self._exchange,
            history_of=self._history_of,
            on_made=self._greet,
            on_lost=self._forget,
        )

    def _greet(self, connection: ApnsConnection) -> None:
        self._connections.add(connection)
        self.stats.connections += 1

    def _forget(self, connection: ApnsConnection) -> None:
        self._connections.discard(connection)

    def _history_of(self, address: str) -> TokenHistory:
        is_shared = self._settings.churn_scope is ChurnScope.SOURCE_ADDRESS
        return self._histories[address] if is_shared else self._new_history()

    def _new_history(self) -> TokenHistory:
        return TokenHistory(window_s=self._settings.churn_window_s, allowed=self._settings.distinct_tokens_allowed)


def _share(settings: SimulatorSettings, world: World) -> Shared:
    return Shared(
        settings=settings,
        world=world,
        reader=ProviderTokenReader(world),
        devices=Devices(burst=settings.device_burst, window_s=settings.device_burst_window_s),
    )
