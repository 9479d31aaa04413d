"""`apns-dispatcher demo`: the whole way once, on this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

import click
import rich_click
from rich.console import Console

from dispatcher.cli.failures import Failure
from dispatcher.cli.mode import refused_in_production
from dispatcher.dev.demo.run import run
from dispatcher.dev.demo.table import show
from dispatcher.dev.interruption import Interruption, interruptible
from dispatcher.errors import DispatcherError


@click.command(cls=rich_click.RichCommand)
@refused_in_production
def demo() -> None:
    """Start a whole fleet here, push some thousands and account for each.

    Starts Valkey, a simulator of Apple's push service, a worker per lane and Flower; compares what was sent, what the
    simulator received and what feedback says; stops everything. Exit code 0 only when every notification is accounted
    for. Apple is never contacted.
    """
    console = Console(highlight=False)
    directory = Path(mkdtemp(prefix="apns-demo-"))
    try:
        with interruptible():
            account = run(directory, console)
    except Interruption as exc:
        shutil.rmtree(directory, ignore_errors=True)
        sys.exit(exc.exit_code)
    except DispatcherError as exc:
        raise Failure(f"{exc}\nThe logs are in {directory}.") from exc
    show(account, console)
    if not account.is_complete:
        console.print(f"The logs are in {directory}.", soft_wrap=True)
        sys.exit(Failure.exit_code)
    shutil.rmtree(directory)
