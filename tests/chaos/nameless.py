"""The fleet's Celery app on a host whose resolver knows the name of Apple only while nobody has taken it away.

Run by `celery -A tests.chaos.nameless worker`, in place of `celery -A workers worker`; the environment says in
CHAOS_APNS_HOST which name that is and in CHAOS_NO_NAMES which file is there while it is gone.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from unittest.mock import patch

from workers.celery import app

__all__ = ["app"]

_look_up = socket.getaddrinfo


def _look_up_or_fail(host: Any, *args: Any, **kwargs: Any) -> Any:
    """Look a name up, unless it is Apple's and gone."""
    if host == os.environ["CHAOS_APNS_HOST"] and Path(os.environ["CHAOS_NO_NAMES"]).exists():
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _look_up(host, *args, **kwargs)


patch.object(socket, "getaddrinfo", _look_up_or_fail).start()
