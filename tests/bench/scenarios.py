"""Every benchmark, by the name that `--only` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from tests.bench import background, bulk_enqueue, single_enqueue, transport, voip, worker
from tests.bench.peers import Peer
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


def with_peers(peers: Sequence[Peer]) -> Mapping[str, Scenario]:
    """Return every benchmark, with peers where senders are compared."""
    return {**SCENARIOS, "transport": partial(transport.measure, peers=peers)}
