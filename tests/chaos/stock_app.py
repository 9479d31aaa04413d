"""Celery as it comes, as careful as it can be made by settings: what the hand-over test compares with.

Run by `celery -A tests.chaos.stock_app worker`. The broker is CELERY_BROKER_URL; DONE_FILE gets a line from each task.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

app = Celery("stock")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="stock.work")
def work(name: str) -> None:
    """Leave a sign that it ran."""
    with Path(os.environ["DONE_FILE"]).open("a", encoding="utf-8") as done:
        done.write(f"{name}\n")
