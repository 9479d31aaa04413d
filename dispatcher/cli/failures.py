"""Turn our errors into one message and an exit code: 1 when something failed, 2 when it was asked for wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from dispatcher.errors import DispatcherError, MissingExtraError, SettingsError


class Failure(click.ClickException):
    """Something failed; shown as its message only, without a traceback."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as it is: no frame, so that what it tells to type can be copied."""
        click.echo(self.message, file=file, err=file is None)


class Misuse(Failure):
    """Something was asked for that cannot be done as this installation is set up."""

    exit_code = 2


_MISUSES: Final = (MissingExtraError, SettingsError)


@contextmanager
def failures_as_messages() -> Iterator[None]:
    """Show an error of this package as its message only.

    Raises:
        Failure: In place of a `DispatcherError`.
    """
    try:
        yield
    except DispatcherError as exc:
        kind = Misuse if isinstance(exc, _MISUSES) else Failure
        raise kind(str(exc)) from exc
