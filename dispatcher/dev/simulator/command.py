"""The command that runs a simulator until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from redis.exceptions import RedisError

from dispatcher.dev.simulator.clock import ClockFollower, OffsetClock
from dispatcher.dev.simulator.faults import FAULTS
from dispatcher.dev.simulator.server import Simulator
from dispatcher.dev.simulator.setting_texts import with_setting
from dispatcher.dev.simulator.settings import OBSERVED, STRICT, SimulatorSettings
from dispatcher.dev.simulator.switches import Hold
from dispatcher.errors import SettingsError
from dispatcher.push_types import Environment

_HOLD_POLL_S: Final = 0.02
_ENVIRONMENTS: Final = {"production": Environment.PRODUCTION, "sandbox": Environment.SANDBOX, "any": None}
_PROFILES: Final = {"strict": STRICT, "observed": OBSERVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    directory: Path
    port: int
    requests_file: Path | None
    clock_url: str | None
    hold_file: Path | None
    settings: SimulatorSettings
    faults: tuple[tuple[str, float], ...]


def _read_faults(_context: click.Context, _parameter: click.Parameter, values: Any) -> tuple[tuple[str, float], ...]:
    return tuple(_read_fault(value) for value in values)


def _read_fault(value: str) -> tuple[str, float]:
    name, _, rate = value.partition(":")
    if name not in FAULTS:
        raise click.BadParameter(f"there is no fault {name}; there are {', '.join(FAULTS)}")
    try:
        return name, float(rate or 1)
    except ValueError:
        raise click.BadParameter(f"the rate of {name} is no number: {rate}") from None


def _read_settings(_context: click.Context, _parameter: click.Parameter, values: Any) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=") for value in values]
    if any(not separator for _, separator, _ in pairs):
        raise click.BadParameter("write NAME=VALUE")
    return tuple((name, text) for name, _, text in pairs)


@click.command()
@click.option("--port", default=2197, show_default=True, help="Port on 127.0.0.1; 0 for a free one.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where its CA, signing keys and a ready apns.toml are kept; created when missing.",
)
@click.option(
    "--requests",
    "requests_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append every request to this file, a JSON object per line.",
)
@click.option("--clock-url", help="Redis with an offset to this machine's clock, for tests that travel in time.")
@click.option("--latency-ms", default=0, show_default=True, help="How long every answer waits.")
@click.option(
    "--hold-file", type=click.Path(path_type=Path, dir_okay=False), help="Hold back answers while this file exists."
)
@click.option("--environment", type=click.Choice(list(_ENVIRONMENTS)), default="any", show_default=True)
@click.option("--profile", type=click.Choice(list(_PROFILES)), default="strict", show_default=True)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    callback=_read_faults,
    metavar="NAME[:RATE]",
    help="Let something go wrong, always or at a rate: goaway:0.01, silence, tls_expired. May be repeated.",
)
@click.option(
    "--set",
    "more_settings",
    multiple=True,
    callback=_read_settings,
    metavar="NAME=VALUE",
    help="Any other setting: churn_scope=key, idle_limit_s=3600. May be repeated.",
)
def simulator(  # noqa: PLR0913 (one argument per option)
    *,
    port: int,
    directory: Path,
    requests_file: Path | None,
    clock_url: str | None,
    latency_ms: int,
    hold_file: Path | None,
    environment: str,
    profile: str,
    faults: tuple[tuple[str, float], ...],
    more_settings: tuple[tuple[str, str], ...],
) -> None:
    """Stand in for Apple's push service on this machine.

    Speaks HTTP/2 over TLS, checks provider tokens, headers, topics and sizes as Apple does, and delivers nothing.
    """
    settings = replace(_PROFILES[profile], environment=_ENVIRONMENTS[environment], latency_s=latency_ms / 1000)
    try:
        for name, text in more_settings:
            settings = with_setting(settings, name, text)
    except SettingsError as exc:
        raise click.ClickException(str(exc)) from exc
    options = _Options(
        directory=directory,
        port=port,
        requests_file=requests_file,
        clock_url=clock_url,
        hold_file=hold_file,
        settings=settings,
        faults=faults,
    )
    asyncio.run(_serve(options))


async def _serve(options: _Options) -> None:
    """Serve until a signal comes.

    Raises:
        click.ClickException: The port is taken, the directory cannot be used, or the clock cannot be read.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    clock = OffsetClock()
    async with AsyncExitStack() as stack:
        if options.clock_url is not None:
            await _follow_clock(stack, clock, options.clock_url)
        running = await _start(stack, options, clock)
        for name, rate in options.faults:
            running.faults.add(name, rate=rate)
        if options.hold_file is not None:
            _keep_running(stack, _obey_hold_file(running.switches.hold, options.hold_file))
        click.echo(f"simulator ready on {running.url}")
        await stopped.wait()


async def _start(stack: AsyncExitStack, options: _Options, clock: OffsetClock) -> Simulator:
    try:
        simulator = Simulator(
            options.directory,
            port=options.port,
            settings=options.settings,
            clock=clock,
            requests_file=options.requests_file,
        )
        return await stack.enter_async_context(simulator)
    except SettingsError as exc:
        raise click.ClickException(str(exc)) from exc
    except OSError as exc:
        raise click.ClickException(
            f"cannot run on port {options.port} with {options.directory}: {exc.strerror}"
        ) from exc


async def _follow_clock(stack: AsyncExitStack, clock: OffsetClock, url: str) -> None:
    follower = ClockFollower(clock, url)
    try:
        await follower.read()
    except RedisError as exc:
        raise click.ClickException(f"cannot read the clock's offset: {exc}") from exc
    _keep_running(stack, follower.follow())


async def _obey_hold_file(hold: Hold, hold_file: Path) -> None:
    """Hold answers back while the file exists; "held" in it says that from now on none goes out."""
    while True:
        if hold_file.exists() and not hold.is_set():  # noqa: ASYNC240 (a stat costs less than handing it to a thread)
            hold.set()
            hold_file.write_text("held", encoding="utf-8")  # noqa: ASYNC240 (as above, once)
        elif hold.is_set() and not hold_file.exists():  # noqa: ASYNC240
            hold.clear()
        await asyncio.sleep(_HOLD_POLL_S)


def _keep_running(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    stack.push_async_callback(_end, task)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # it died on its own: say so
