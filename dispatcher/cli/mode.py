"""What commands that bring their own server demand of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dispatcher.cli.failures import Misuse
from dispatcher.settings import Mode


def refused_in_production(command: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a command where APNS_MODE is production: its server, keys and Apple are all make-believe."""
    return click.option(
        "--mode",
        envvar="APNS_MODE",
        hidden=True,
        expose_value=False,
        is_eager=True,
        callback=_check,
    )(command)


def _check(_ctx: click.Context, _param: click.Parameter, mode: str | None) -> None:
    if mode == Mode.PRODUCTION:
        raise Misuse("APNS_MODE is production: this command only plays, with a server of its own")
