"""`apns-dispatcher pause`, `resume` and `pauses`: what the fleet does not send at present."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import click
import rich_click

from dispatcher import pausing
from dispatcher.cli.failures import Failure
from dispatcher.pausing import ANY, Pause, PausedBy, Scope
from dispatcher.push_types import Lane
from dispatcher.settings import Settings
from dispatcher.settings_problems import did_you_mean, names
from dispatcher.state_server import StateServer

#: The reason of a pause by hand.
BY_HAND: Final = "operator"


def _scoped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is meant."""
    lanes = click.Choice([str(lane) for lane in Lane])
    for option in (
        click.option("--key", "key_id", metavar="KEYID", default=ANY, help="Pushes under this signing key."),
        click.option("--lane", type=lanes, default=None, help="Pushes of this lane."),
        click.option("--app", metavar="BUNDLEID", default=ANY, help="Pushes of this app."),
    ):
        command = option(command)
    return command


@click.command(cls=rich_click.RichCommand)
@_scoped
def pause(*, app: str, lane: str | None, key_id: str) -> None:
    """Send nothing of an app, lane or signing key until it is resumed.

    Options together mean what fits all of them. What is enqueued is accepted and waits; what expires meanwhile is
    reported expired.
    """
    settings = Settings.from_env()
    scope = _scope(app, lane, key_id)
    if app != ANY:
        settings.app(app)
    if key_id not in (ANY, *settings.keys):
        known = f"configured keys: {names(settings.keys)}{did_you_mean(key_id, settings.keys)}"
        raise Failure(f"key {key_id} is not configured; {known}")
    with _state(settings) as state:
        is_new = state.run(pausing.pause(scope, BY_HAND))
    click.echo(f"{'paused' if is_new else 'was paused before:'} {scope}")


@click.command(cls=rich_click.RichCommand)
@_scoped
def resume(*, app: str, lane: str | None, key_id: str) -> None:
    """End a pause, whoever made it.

    Name it as `pauses` shows it. What waited is sent within seconds, unless another pause holds it.
    """
    scope = _scope(app, lane, key_id)
    with _state(Settings.from_env()) as state:
        if not state.run(pausing.resume(scope, by=PausedBy.OPERATOR)):
            paused = ", ".join(str(each.scope) for each in state.run(pausing.read())) or "nothing"
            raise Failure(f"{scope} is not paused; paused: {paused}")
    click.echo(f"resumed {scope}")


@click.command(cls=rich_click.RichCommand)
def pauses() -> None:
    """List what is paused.

    Each line names app, lane and key, who paused it, since when, and why.
    """
    with _state(Settings.from_env()) as state:
        found = state.run(pausing.read())
    for each in sorted(found, key=lambda one: one.since):
        click.echo(_line(each))
    if not found:
        click.echo("nothing is paused")


def _line(each: Pause) -> str:
    since = datetime.fromtimestamp(each.since, UTC).isoformat(timespec="seconds")
    probes = f", {each.probes} probes" if each.by is PausedBy.WORKERS else ""
    return f"{each.scope}  by {each.by} since {since}: {each.reason}{probes}"


def _scope(app: str, lane: str | None, key_id: str) -> Scope:
    scope = Scope(app=app, lane=lane or ANY, key_id=key_id)
    if scope == Scope():
        raise click.UsageError("give at least one of --app, --lane, --key")
    return scope


@contextmanager
def _state(settings: Settings) -> Iterator[StateServer]:
    state = StateServer.of(settings)
    try:
        yield state
    finally:
        state.close()
