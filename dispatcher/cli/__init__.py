"""The commands: `apns-dispatcher ...`, and the same as `celery apns ...`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

from dispatcher.errors import MissingExtraError

_USAGE_ERROR: Final = 2


def main() -> None:
    """Run `apns-dispatcher`; never returns."""
    try:
        group = _group()
    except MissingExtraError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(_USAGE_ERROR)
    group.main(prog_name="apns-dispatcher")


def __getattr__(name: str) -> Any:
    """Load `apns` when Celery asks for it: a missing extra must not keep this module from being imported."""
    if name == "apns":
        return _group()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _group() -> Any:
    return import_module("dispatcher.cli.group").apns
