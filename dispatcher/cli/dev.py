"""`apns-dispatcher dev`: a fleet on this machine, until Ctrl-C."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import rich_click

from dispatcher.cli.mode import refused_in_production
from dispatcher.dev.interruption import Interruption, interruptible
from dispatcher.dev.keep import keep_running
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.stack import Stack


@click.command(cls=rich_click.RichCommand)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep configuration, data and logs here; a temporary directory otherwise.",
)
@refused_in_production
def dev(*, directory: Path | None) -> None:
    """Start a whole fleet here and keep it running.

    Starts Valkey, a simulator of Apple's push service, a worker per lane and Flower, starts again what dies, and shows
    what they say. Ctrl-C stops everything. Apple is never contacted.
    """
    with TemporaryDirectory(prefix="apns-dev-", ignore_cleanup_errors=True) as temporary:
        try:
            with interruptible(), Stack(directory or Path(temporary), flower=True) as stack:
                click.echo(welcome(stack))
                keep_running(stack, click.echo)
        except Interruption as exc:
            click.echo(f"{exc}: everything is stopped")
            sys.exit(0)


def welcome(stack: Stack) -> str:
    """Return where everything is and what to try."""
    exports = "\n".join(f"  export {name}={shlex.quote(value)}" for name, value in stack.env.items())
    return (
        f"Flower         {stack.flower_url}\n"
        f"simulator      {stack.simulator_url}\n"
        f"its requests   {stack.simulator_requests}\n"
        f"configuration  {stack.config}\n\n"
        f"In another terminal:\n{exports}\n"
        f"  apns-dispatcher send com.example.app {device_token(0)} --alert hi\n\n"
        "Ctrl-C stops everything."
    )
