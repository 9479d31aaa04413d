"""Refuse a foreign `dispatcher` that took the name of ours.

The mirror of the check in our `dispatcher`, which this one cannot import: it is the one in doubt.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path


def refuse_foreign_dispatcher(beside: str) -> None:
    """Check that importing `dispatcher` gives the package installed beside ours; never imports it.

    Args:
        beside: `__file__` of our `workers/__init__.py`.

    Raises:
        ImportError: Another one would be imported, or already was.
    """
    spec = importlib.util.find_spec("dispatcher")
    ours = Path(beside).resolve().parent.parent / "dispatcher"
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent != ours:
        raise ImportError(
            f"'dispatcher' is a package of apns-dispatcher, but here the name leads to {spec.origin}: rename that one, "
            "or start from a directory and with a PYTHONPATH that do not hold it",
        )
