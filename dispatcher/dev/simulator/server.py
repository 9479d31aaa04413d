"""The simulator as a whole: opens its directory, listens, and counts its connections."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dispatcher.dev.ports import HOST
from dispatcher.dev.simulator.case import Shared
from dispatcher.dev.simulator.certificates import open_tls_context
from dispatcher.dev.simulator.channels import Channels
from dispatcher.dev.simulator.config_file import write_config
from dispatcher.dev.simulator.connection import ApnsConnection
from dispatcher.dev.simulator.connects import Connects
from dispatcher.dev.simulator.devices import Devices
from dispatcher.dev.simulator.exchange import Clock, Exchange
from dispatcher.dev.simulator.fault_rules import Faults
from dispatcher.dev.simulator.faults import ConnectFault, Door, Goaway
from dispatcher.dev.simulator.listener import Listener
from dispatcher.dev.simulator.phone import Phone
from dispatcher.dev.simulator.phones import Phones
from dispatcher.dev.simulator.provider_tokens import ProviderTokenReader, TokenHistory
from dispatcher.dev.simulator.registrations import Registrations
from dispatcher.dev.simulator.request_log import LoggedRequest, RequestLog
from dispatcher.dev.simulator.settings import STRICT, ChurnScope, SimulatorSettings
from dispatcher.dev.simulator.stats import Stats
from dispatcher.dev.simulator.storage import Storage
from dispatcher.dev.simulator.switches import Switches
from dispatcher.dev.simulator.world import World, open_world
from dispatcher.push_types import Environment

_GOODBYE_S: Final = 0.5
_IDLE_POLL_S: Final = 0.02


class Simulator:
    """Apple's push service on this machine, from `async with` to its end.

    Everything is used from the event loop it runs on, but for `faults`, `phone`, `requests` and `registrations`.

    Args:
        directory: Where it keeps its keys, certificates and configuration; created when missing.
        port: 0 for a free one.
        clock: Returns simulated Unix seconds.
        requests_file: Where each request is appended as a line of JSON.

    Attributes:
        faults: What shall go wrong, and when.
        registrations: Device tokens of which more is known than their digits say.
        stats: Counts of requests and answers.
        storage: What waits for devices.
        switches: Delays and silence to switch on and off: swallow, hold, latency_s.
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
        self.switches = Switches(
            latency_s=settings.latency_s, latency_spread=settings.latency_spread, seed=settings.seed
        )
        self._settings = settings
        self._clock = clock
        shared = _share(settings, self.world)
        self.registrations = shared.registrations
        self.faults = Faults(seed=settings.seed, devices=shared.devices)
        self._log = RequestLog(requests_file, remembered=settings.requests_remembered)
        self._phones = Phones()
        self._exchange = Exchange(
            shared=shared,
            storage=self.storage,
            phones=self._phones,
            stats=self.stats,
            log=self._log,
            switches=self.switches,
            clock=clock,
        )
        self._connects = Connects(per_minute=settings.connects_per_minute)
        self._listener = Listener(
            port,
            greet=self._greet,
            make_protocol=self._new_connection,
            open_context=partial(open_tls_context, directory),
        )
        self._histories: defaultdict[str, TokenHistory] = defaultdict(self._new_history)
        self._connections: set[ApnsConnection] = set()
        self._numbers = itertools.count(1)
        self._watch: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._listener.port

    @property
    def url(self) -> str:
        """Where to send pushes, once started."""
        return f"https://{HOST}:{self.port}"

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """The newest requests, oldest first, as many as the settings let it remember."""
        return tuple(self._log.requests)

    @property
    def clients(self) -> dict[int, int]:
        """The client's port of each connection that is there, by its number in the request log."""
        return {connection.number: connection.client_port for connection in self._connections}

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
        await self._listener.open()
        if self._settings.idle_limit_s:
            self._watch = asyncio.create_task(self._end_idle_connections())
        environment = self._settings.environment or Environment.PRODUCTION
        write_config(self.directory, url=self.url, environment=environment)

    async def stop(self) -> None:
        """Say goodbye to every client, close, and write the rest of the log."""
        await self._listener.close()
        await self._listener.cut_off()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        self.go_away()
        await self._wait_for_goodbyes()
        for connection in list(self._connections):
            connection.abort()
        await self._wait_for_goodbyes()
        self._log.close()

    async def close_door(self) -> None:
        """Refuse every new connection; those there are live on."""
        await self._listener.close()

    async def open_door(self) -> None:
        """Take new connections again, on the same port."""
        await self._listener.open()

    def go_away(self, goaway: Goaway | None = None) -> None:
        """Say goodbye to every client, as in an administrative shutdown; what has come is still answered."""
        for connection in list(self._connections):
            connection.close(goaway)

    def hang_up(self) -> None:
        """Cut every connection, without goodbye."""
        for connection in list(self._connections):
            connection.abort()

    def return_windows(self, *, returns: bool) -> None:
        """Give the clients credit for payloads, and what was withheld of it; or give none from now on."""
        for connection in list(self._connections):
            connection.return_windows(returns=returns)

    def phone(self, *device_tokens: str) -> Phone:
        """Return the phone with these device tokens, of one app; turned on when first asked for.

        A push to any other device is stored for a phone that never comes.
        """
        lower = tuple(device_token.lower() for device_token in device_tokens)
        phone = self._phones.get(lower[0])
        if phone is None:
            phone = Phone(
                lower,
                storage=self.storage,
                registrations=self.registrations,
                clock=self._clock,
                background_per_hour=self._settings.background_per_hour,
                uninstall_notice_s=self._settings.uninstall_notice_s,
            )
            self._phones.add(phone)
        return phone

    async def _wait_for_goodbyes(self) -> None:
        # A client that does not listen is not waited for: what comes next is firmer.
        gone = [connection.gone for connection in self._connections]
        if gone:
            await asyncio.wait(gone, timeout=_GOODBYE_S)

    async def _end_idle_connections(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_POLL_S)
            for connection in list(self._connections):
                connection.end_if_idle(self._clock())

    def _greet(self, address: str) -> ConnectFault | None:
        is_welcome = self._connects.admits(address, self._clock())
        return self.faults.of_connection() if is_welcome else ConnectFault(door=Door.RESET)

    def _new_connection(self, fault: ConnectFault | None) -> ApnsConnection:
        return ApnsConnection(
            number=next(self._numbers),
            exchange=self._exchange,
            faults=self.faults,
            history_of=self._history_of,
            on_made=self._enter,
            on_lost=self._connections.discard,
            fault=fault,
        )

    def _enter(self, connection: ApnsConnection) -> None:
        self._connections.add(connection)
        self.stats.connections += 1

    def _history_of(self, address: str) -> TokenHistory:
        if self._settings.churn_scope is ChurnScope.CONNECTION:
            return self._new_history()
        # A history counts per key: one for all addresses is the scope of the key.
        return self._histories[address if self._settings.churn_scope is ChurnScope.SOURCE_ADDRESS else ""]

    def _new_history(self) -> TokenHistory:
        return TokenHistory(window_s=self._settings.churn_window_s, allowed=self._settings.distinct_tokens_allowed)


def _share(settings: SimulatorSettings, world: World) -> Shared:
    return Shared(
        settings=settings,
        world=world,
        reader=ProviderTokenReader(world),
        devices=Devices(burst=settings.device_burst, window_s=settings.device_burst_window_s),
        registrations=Registrations(),
        channels=Channels(max_channels=settings.max_channels),
    )
