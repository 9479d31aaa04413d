"""Commands that are loaded when they are used: listing them, or running another, does not wait for their imports."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from dispatcher.cli.failures import failures_as_messages


class LazyCommand(click.Command):
    """Stands for a command in another module.

    Args:
        name: What people type.
        summary: What the list of commands says.
        place: `package.module:attribute` of the command itself.
        hidden: Keep it out of the list of commands.
    """

    def __init__(self, name: str, summary: str, place: str, *, hidden: bool = False) -> None:
        super().__init__(name, short_help=summary, hidden=hidden)
        self._place = place

    def load(self) -> click.Command:
        """Return the command itself.

        Raises:
            click.ClickException: The extra it belongs to is not installed.
        """
        module, _, attribute = self._place.partition(":")
        with failures_as_messages():
            command: click.Command = getattr(import_module(module), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments as the command itself does; what follows is up to it."""
        return self.load().make_context(info_name, args, parent=parent, **extra)
