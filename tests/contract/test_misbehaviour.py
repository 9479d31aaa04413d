"""Nothing a server does makes a push hang, get lost or be sent twice by the transport."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Stage
from tests.contract.misbehaviour import CASES, Case, run


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.beyond(*beyond) for beyond in case.beyond.items()])
        for case in CASES
    ],
)
async def test_misbehaviour_costs_what_it_must_and_no_more(stage: Stage, case: Case) -> None:
    """Each push ends within its deadline as it should, and APNs sees it no more often than that takes."""
    assert await run(case, stage) == case.expected
