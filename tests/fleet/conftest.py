"""Whole fleets, for each test a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dispatcher.dev.simulator.device_tokens import device_token
from tests.running_fleet import Fleet, watched_fleet


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a whole fleet with Flower, whose API is open."""
    with watched_fleet(tmp_path_factory.mktemp("watched") / "stack") as running:
        yield running


@pytest.fixture
def devices() -> Callable[[int], list[str]]:
    """Return a maker of ordinary device tokens."""
    return lambda number: [device_token(each) for each in range(number)]
