"""The network to the server is gone for a while: silent, or refusing."""

from __future__ import annotations

import pytest

from dispatcher.dev.children import Child
from tests.chaos.proxy import BLACK_HOLE, Network
from tests.outages.conftest import Troubled, outage_s


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "network", [Network(hold=BLACK_HOLE), Network(is_refusing=True)], ids=["black hole", "refused"]
)
def test_a_network_that_is_gone(troubled: Troubled, worker: Child, network: Network) -> None:
    """Producers are told in time, the worker is back by itself, and everything accepted arrives."""
    troubled.send(20)
    troubled.proxy.set(network)
    troubled.send_for(outage_s(4, 60))
    troubled.assert_told_in_time()
    troubled.proxy.set(Network())
    troubled.send(20)
    troubled.wait_until_delivered()
    troubled.assert_without_noise(worker)
