"""Fixtures of pytest for whoever pushes to Apple: `apns` is Apple's push service on this machine.

Asked for in a conftest.py, so that no other test run of a web app loads it:

    pytest_plugins = ["dispatcher.dev.pytest_plugin"]

Nothing of the simulator is imported before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from dispatcher.dev.simulator import SimulatorSettings, SimulatorThread

_REMEMBERED: Final = 10_000


@pytest.fixture(scope="session")
def apns_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the keys, certificates and configuration of all simulators of a test run are."""
    return tmp_path_factory.mktemp("apns")


@pytest.fixture
def apns_settings() -> SimulatorSettings:
    """Return the settings of the simulator; override it to have others."""
    settings: SimulatorSettings = import_module("dispatcher.dev.simulator").STRICT
    return settings


@pytest.fixture
def apns(apns_directory: Path, apns_settings: SimulatorSettings) -> Iterator[SimulatorThread]:
    """Run Apple's push service on this machine: `url`, `config_file`, `faults`, `requests`, `phone()`."""
    # Not at the top: whoever does not use the fixture needs neither h2 nor the time that it takes to load.
    simulator = import_module("dispatcher.dev.simulator")
    settings = replace(apns_settings, requests_remembered=apns_settings.requests_remembered or _REMEMBERED)
    with simulator.SimulatorThread(apns_directory, settings=settings) as running:
        yield running
