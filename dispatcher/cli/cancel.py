"""`apns-dispatcher cancel`: stop a notification that has not been sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click
import rich_click

from dispatcher import Cancellation, Dispatcher
from dispatcher.cli.failures import Failure

_IN_TIME: Final[Mapping[Cancellation, str]] = {
    Cancellation.CANCELLED: "cancelled",
    Cancellation.BEING_SENT: "being sent: stopped if that is still possible, and never tried again",
}
_NOT_IN_TIME: Final[Mapping[Cancellation, str]] = {
    Cancellation.ENDED: "too late, it has ended",
    Cancellation.UNKNOWN: "nothing is known of it",
}


@click.command(cls=rich_click.RichCommand)
@click.argument("apns_id", metavar="ID")
def cancel(*, apns_id: str) -> None:
    """Cancel one notification.

    ID is the apns id of its receipt. Exit code 1 if it has ended or is unknown.
    """
    with Dispatcher.from_env() as push:
        found = push.cancel(apns_id)
    if found in _NOT_IN_TIME:
        raise Failure(_NOT_IN_TIME[found])
    click.echo(_IN_TIME[found])
