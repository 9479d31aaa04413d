"""Say which extra to install when a part of this package is used without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dispatcher.errors import MissingExtraError


@contextmanager
def needs_extra(extra: str, *, part: str, modules: tuple[str, ...]) -> Iterator[None]:
    """Turn the failed import of one of `modules` into the line that installs it.

    Wrap only the imports. Any other failed import passes through as it is: it is a fault, not a missing extra.

    Args:
        extra: Name of the extra, as in pyproject.toml.
        part: What was used, as a person would call it: "the simulator".
        modules: Top-level import names that the extra brings.

    Raises:
        MissingExtraError: One of `modules` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        library = (exc.name or "").partition(".")[0]
        # A library that is loaded, but lacks a part, is too old or broken: no extra would mend that.
        if library in modules and sys.modules.get(library) is None:
            raise MissingExtraError(part, extra) from exc
        raise
