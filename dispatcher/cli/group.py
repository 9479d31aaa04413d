"""The group of all commands."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

from dispatcher.extras import needs_extra

with needs_extra("cli", part="apns-dispatcher", modules=("rich", "rich_click", "click")):
    import click
    import rich_click

from dispatcher.cli.failures import Failure, failures_as_messages
from dispatcher.cli.lazy import LazyCommand

_DISTRIBUTION: Final = "apns-dispatcher"


class Apns(rich_click.RichGroup):
    """Runs a command; an error of ours becomes one message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            with failures_as_messages():
                return super().invoke(ctx)
        except Failure as exc:
            exc.show()
            ctx.exit(exc.exit_code)


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  (click's interface)
    if value and not ctx.resilient_parsing:
        try:
            click.echo(f"{_DISTRIBUTION} {metadata.version(_DISTRIBUTION)}")
        except metadata.PackageNotFoundError:
            click.echo(f"{_DISTRIBUTION}, run from its source")
        ctx.exit()


_COMMANDS: Final = (
    LazyCommand(
        "demo", "Start a whole fleet here, push some thousands and account for each.", "dispatcher.cli.demo:demo"
    ),
    LazyCommand("dev", "Start a whole fleet here and keep it running.", "dispatcher.cli.dev:dev"),
    LazyCommand("send", "Send one notification.", "dispatcher.cli.send:send"),
    LazyCommand("status", "Show where a notification is.", "dispatcher.cli.status:status"),
    LazyCommand("cancel", "Cancel one notification.", "dispatcher.cli.cancel:cancel"),
    LazyCommand("dead", "Look through what could not be sent, send it again, or drop it.", "dispatcher.cli.dead:dead"),
    LazyCommand(
        "pause", "Send nothing of an app, lane or signing key until it is resumed.", "dispatcher.cli.pause:pause"
    ),
    LazyCommand("resume", "End a pause, whoever made it.", "dispatcher.cli.pause:resume"),
    LazyCommand("pauses", "List what is paused.", "dispatcher.cli.pause:pauses"),
    LazyCommand("health", "Exit 0 if this host's part works.", "dispatcher.cli.health:health"),
    LazyCommand(
        "simulator",
        "Stand in for Apple's push service on this machine.",
        "dispatcher.dev.simulator.command:simulator",
    ),
    LazyCommand("clock", "Move the fleet's clock, for tests.", "dispatcher.cli.clock:clock", hidden=True),
)


@click.group(cls=Apns, name="apns", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def apns() -> None:
    """Send Apple push notifications from web apps through a fleet of Celery workers."""


for _command in _COMMANDS:
    apns.add_command(_command)
