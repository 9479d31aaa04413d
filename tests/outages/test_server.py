"""The server is there and does not do its work: it takes no writes, is full, or has forgotten everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher import Backpressure, Lane
from dispatcher.dev import programs
from dispatcher.dev.children import Child
from tests.chaos.proxy import HOST
from tests.outages.conftest import Troubled, outage_s


@pytest.mark.timeout(240)
def test_a_server_that_became_a_replica(troubled: Troubled, worker: Child) -> None:
    """While nothing can be written producers are told so; the worker waits, and goes on when it can be."""
    troubled.send(20)
    troubled.fleet.state.replicaof(HOST, 1)
    troubled.send_for(outage_s(4, 60))
    troubled.fleet.state.replicaof("NO", "ONE")
    troubled.assert_told_in_time()
    assert all(error.certainly_not_accepted for error in troubled.errors)  # type: ignore[attr-defined]
    troubled.send(20)
    # What was in flight without being noted waits for the end of its lease.
    troubled.wait_until_delivered(within_s=45)
    troubled.assert_without_noise(worker)


@pytest.mark.timeout(240)
def test_a_server_that_is_full(troubled: Troubled, worker: Child) -> None:
    """While there is no room producers are told so; what was accepted before is sent and noted meanwhile, once."""
    troubled.fleet.hold_answers()
    troubled.send(50)
    troubled.fleet.state.config_set("maxmemory", 1)
    troubled.fleet.release_answers()
    troubled.send_for(outage_s(3, 30))
    troubled.assert_told_in_time()
    assert all(isinstance(error, Backpressure) for error in troubled.errors)
    troubled.wait_until_delivered()
    troubled.fleet.wait_until_settled()
    troubled.fleet.state.config_set("maxmemory", 0)
    troubled.send(20)
    troubled.wait_until_delivered()
    troubled.assert_without_noise(worker)
    assert set(troubled.fleet.seen().values()) == {1}


def test_a_full_server_is_emptied_by_new_workers(troubled: Troubled) -> None:
    """A worker that starts while the server is full sends what waits: only that makes room again."""
    troubled.send(20)
    troubled.fleet.state.config_set("maxmemory", 1)
    worker, _ = troubled.fleet.stack._launch_worker(Lane.ALERT)  # noqa: SLF001  it can give no sign of life yet
    troubled.wait_until_delivered()
    troubled.fleet.wait_until_settled()
    troubled.fleet.state.config_set("maxmemory", 0)
    troubled.send(5)
    troubled.wait_until_delivered()
    troubled.assert_without_noise(worker)


def test_a_worker_does_not_start_on_a_replica(troubled: Troubled, tmp_path: Path) -> None:
    """A worker that could do nothing says why in one line and ends, for its supervisor to start it again."""
    troubled.fleet.state.replicaof(HOST, 1)
    env = programs.environment({**troubled.fleet.stack.env, **troubled.fleet.stack.worker_env})
    guard, command = troubled.fleet.stack._guard, programs.worker(Lane.ALERT, 1)  # noqa: SLF001
    worker = guard.start("refused", command, log=tmp_path / "log", env=env, directory=tmp_path)
    troubled.fleet.wait_for(lambda: not worker.is_running)
    lines = [line for line in worker.last_lines(50) if "worker_start_refused" in line]
    assert worker.exit_code == 2
    assert len(lines) == 1
    assert "REPLICAOF NO ONE" in lines[0]
    assert "Traceback" not in worker.log.read_text(encoding="utf-8")


def test_a_server_that_was_emptied(troubled: Troubled, worker: Child) -> None:
    """With everything gone, scripts and bindings included, the next notification is taken and sent as ever."""
    troubled.fleet.state.flushall()
    troubled.fleet.state.script_flush()
    troubled.send(20)
    assert not troubled.errors
    troubled.wait_until_delivered()
    troubled.fleet.wait_until_settled()
    troubled.assert_without_noise(worker)
