"""Every benchmark, by the name that `--only` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.bench import background, bulk_enqueue, single_enqueue, transport, voip, worker
from tests.bench.results import Row
from tests.bench.sizes import Sizes

Scenario = Callable[[Sizes], Iterator[Row]]

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "single": single_enqueue.measure,
    "bulk": bulk_enqueue.measure,
    "background": background.measure,
    "transport": transport.measure,
    "batches": worker.measure_batches,
    "singles": worker.measure_singles,
    "voip": voip.measure,
}
