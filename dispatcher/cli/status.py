"""`apns-dispatcher status`: where a notification is, or how it ended."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import rich_click

from dispatcher import Dispatcher, Status
from dispatcher.cli.failures import Failure


@click.command(cls=rich_click.RichCommand)
@click.argument("apns_id", metavar="ID")
def status(*, apns_id: str) -> None:
    """Show where a notification is.

    ID is the apns id of its receipt. How it ended is known for a day, if it was sent with tracking. Exit code 1 if
    nothing is known.
    """
    with Dispatcher.from_env() as push:
        found = push.status(apns_id)
    if found is None:
        raise Failure("nothing is known of it")
    click.echo(describe(found))


def describe(found: Status) -> str:
    """Return a status in words, a line for each thing known."""
    lines = {
        "state": found.state.replace("_", " "),
        "accepted": _time(found.accepted_at),
        "due": _time(found.due),
        "attempts": str(found.attempts),
        "outcome": "" if found.outcome is None else found.outcome.replace("_", " "),
        "answer": str(found.status or ""),
        "reason": found.reason,
        "ended": _time(found.ended_at),
    }
    return "\n".join(f"{name:<9} {text}" for name, text in lines.items() if text)


def _time(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds")
