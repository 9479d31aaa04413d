"""`apns-dispatcher health`: what an orchestrator asks a container."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import click
import redis
import rich_click

from dispatcher import outbox, redis_keys
from dispatcher.cli.failures import Failure
from dispatcher.errors import EnqueueError, SettingsError
from dispatcher.push_types import Lane
from dispatcher.server_examination import examine
from dispatcher.server_findings import refusals
from dispatcher.settings import Settings
from dispatcher.state_server import StateServer

#: A worker that has given no sign for longer counts as gone.
MAX_SILENCE_S: Final = 60.0


@click.command(cls=rich_click.RichCommand)
@click.option(
    "--lane",
    envvar="APNS_LANE",
    show_envvar=True,
    type=click.Choice([str(lane) for lane in Lane]),
    help="Ask for a living worker of this lane on this host, too.",
)
def health(*, lane: str | None) -> None:
    """Exit 0 if this host's part works.

    The state server must answer, the servers must be set up so that a worker would start on them, and, with a lane, a
    worker of this host must have given a sign within a minute. Any trouble is exit code 1, also one of the
    configuration.
    """
    try:
        settings = Settings.from_env()
    except SettingsError as exc:
        raise Failure(str(exc)) from exc
    state = StateServer(settings.state_url.get_secret_value(), clock=settings.clock, timeout_s=settings.timeout_s)
    try:
        now = state.run(outbox.time())
        signs = state.ask(redis_keys.FLEET_SHARD, partial(_signs, since=now - MAX_SILENCE_S))
    except (EnqueueError, redis.RedisError) as exc:
        raise Failure("the state server does not answer") from exc
    finally:
        state.close()
    _show_findings(settings)
    if lane is not None and not _has_worker(signs, Lane(lane)):
        raise Failure(f"no worker of lane {lane} on this host has given a sign for {MAX_SILENCE_S:.0f} s")
    click.echo("healthy")


def _show_findings(settings: Settings) -> None:
    """Say what is wrong with the servers.

    Raises:
        Failure: Workers would not start on them.
        StateServerError: The state server does not answer any more.
    """
    findings = examine(settings, timeout_s=settings.timeout_s)
    if problems := refusals(findings):
        raise Failure("\n".join(problems))
    for finding in findings:
        click.echo(f"warning: {finding.problem}", err=True)


def _signs(pipeline: Any, *, since: float) -> None:
    pipeline.zrangebyscore(redis_keys.workers(), since, "+inf")


def _has_worker(signs: Iterable[bytes], lane: Lane) -> bool:
    host = f"{socket.gethostname()}:".encode()
    return any(sign.startswith(host) and sign.endswith(f":{lane}".encode()) for sign in signs)
