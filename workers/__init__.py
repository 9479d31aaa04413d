"""The fleet: Celery workers that send what web apps accepted.

    celery -A workers worker -Q apns.alert

Nothing here is imported by the `dispatcher` package.
"""

from __future__ import annotations

from workers._shadow import refuse_foreign_dispatcher

refuse_foreign_dispatcher(__file__)
