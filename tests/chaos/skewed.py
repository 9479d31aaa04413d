"""The fleet's Celery app on a host whose clock is wrong by CHAOS_SKEW_S seconds.

Run by `celery -A tests.chaos.skewed worker`, in place of `celery -A workers worker`.
"""

from __future__ import annotations

import os
import time
from unittest.mock import patch

_right = time.time
_skew_s = float(os.environ.get("CHAOS_SKEW_S", "0"))

# Before anything of the fleet is imported, so that nobody can have kept the right one.
patch.object(time, "time", lambda: _right() + _skew_s).start()

from workers.celery import app  # noqa: E402

__all__ = ["app"]
