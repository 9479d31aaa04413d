"""Refuse a foreign `workers` that took the name of ours.

Our two packages are installed side by side under plain names, `dispatcher` and `workers`. A project whose own folder or
module has such a name hides ours: its workers would start as if they were the fleet, take our messages and throw them
away. So whoever imports ours is told at once. (`workers` guards the name `dispatcher` in the same way.)
"""

from __future__ import annotations

import importlib.util
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final

from dispatcher.errors import DispatcherError

_GUARDED: Final = "workers"


class ShadowedPackageError(DispatcherError, ImportError):
    """A foreign package or module has the name of one of ours.

    Attributes:
        package: The name they share.
        found: Where the foreign one is.
    """

    def __init__(self, package: str, found: str) -> None:
        self.package = package
        self.found = found
        super().__init__(
            f"'{package}' is a package of apns-dispatcher, but here the name leads to {found}: rename that one, "
            "or start from a directory and with a PYTHONPATH that do not hold it",
        )


def refuse_foreign_workers(beside: str) -> None:
    """Check that importing `workers` gives the package installed beside ours; never imports it.

    Args:
        beside: `__file__` of our `dispatcher/__init__.py`.

    Raises:
        ShadowedPackageError: Another one would be imported, or already was.
        SystemExit: This process is `celery -A workers ... -Q apns.alert` and would start another one. Celery loads us
            as a plugin and swallows every ordinary error of a plugin; then it would go on and load the other one.
    """
    folder = worker_folder(sys.argv)
    if folder is not None:
        search_path = sys.path if folder in sys.path else [folder, *sys.path]
        if foreign := _foreign(PathFinder.find_spec(_GUARDED, search_path), beside):
            raise SystemExit(str(ShadowedPackageError(_GUARDED, foreign)))
    if foreign := _foreign(_spec(), beside):
        raise ShadowedPackageError(_GUARDED, foreign)


def worker_folder(command_line: Sequence[str]) -> str | None:
    """Return the folder where Celery will look for the app first, when a command line starts workers of ours.

    Celery puts that folder before everything else on Python's path, but later than it loads its plugins. A command line
    that names no queue of ours is none of our business.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-A", "--app", nargs="?")
    parser.add_argument("-Q", "--queues", nargs="?", default="")
    parser.add_argument("--workdir", nargs="?", default="")
    options, _ = parser.parse_known_args(command_line[1:])
    is_ours = re.split("[.:]", options.app or "")[0] == _GUARDED and "apns." in (options.queues or "")
    return str(Path(options.workdir or "").resolve()) if is_ours else None


def _spec() -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(_GUARDED)
    except ValueError:  # already imported, but made by hand: nothing says where it comes from
        return ModuleSpec(_GUARDED, None, origin="a module made at run time")


def _foreign(spec: ModuleSpec | None, beside: str) -> str | None:
    # No origin: a plain folder without __init__.py, which gives way to any package of that name.
    if spec is None or spec.origin is None:
        return None
    ours = Path(beside).resolve().parent.parent / _GUARDED
    return None if Path(spec.origin).resolve().parent == ours else spec.origin
