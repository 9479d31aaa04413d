"""Simulators, and clients to ask them with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.dev.simulator import STRICT, SimulatorSettings
from tests.simulator.client import Client
from tests.simulator.running import Clock, Run, RunningSimulator


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all simulators of a test run share, so that keys are made once."""
    return tmp_path_factory.mktemp("simulator")


@pytest.fixture
def connect(directory: Path) -> Callable[[int], Client]:
    """Return a function that connects to a port of this machine, trusting the shared directory's CA."""
    return lambda port: Client(port, directory / "ca.pem")


@pytest.fixture
def run(directory: Path, tmp_path: Path) -> Iterator[Run]:
    """Return a function that starts a simulator, stopped after the test."""
    running: list[RunningSimulator] = []

    def start(settings: SimulatorSettings = STRICT, where: Path | None = None) -> RunningSimulator:
        running.append(RunningSimulator(where or directory, settings, Clock(), tmp_path / "requests.jsonl"))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def apns(run: Run) -> RunningSimulator:
    """Return a running simulator of the strict profile."""
    return run()
