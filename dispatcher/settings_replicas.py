"""Who has to confirm what is accepted: `[enqueue] wait_for_replicas` and `replica_timeout_ms`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.settings_schema import EnqueueSection, Variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Who has to confirm what is accepted, beside the server that accepts it.

    Attributes:
        count: How many replicas.
        timeout_ms: How long to wait for them.
    """

    count: int
    timeout_ms: int


def replicas(section: EnqueueSection) -> Replicas | None:
    """Return what is configured; None when nobody else has to."""
    if not section.wait_for_replicas:
        return None
    return Replicas(count=section.wait_for_replicas, timeout_ms=section.replica_timeout_ms)


def replica_problems(variables: Variables, section: EnqueueSection) -> Iterator[str]:
    """Yield what no single field shows: replicas are waited for within the time of a call."""
    wanted, longest_ms = replicas(section), variables.timeout_s * 1000 / 2
    if wanted is not None and wanted.timeout_ms >= longest_ms:
        rule = f"must be less than {longest_ms:g}, half of APNS_TIMEOUT"
        yield f"{variables.config}: [enqueue] replica_timeout_ms = {wanted.timeout_ms}: {rule}"
