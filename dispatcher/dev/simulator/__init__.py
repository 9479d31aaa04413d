"""A stand-in for Apple's push service: HTTP/2 over TLS, Apple's checks in Apple's order, Apple's exact answers.

Start it as a command (`python -m dispatcher.dev.simulator`), or inside a test::

    async with Simulator(directory, settings=SimulatorSettings(device_burst=5)) as simulator:
        ...  # push to simulator.url, trusting directory / "ca.pem"
        simulator.stats.requests

How one request travels::

    connection (asyncio) -> http2 (h2, no I/O) -> exchange -> checks, authentication -> Answer
                                                      |-> storage, stats, request_log
"""

from __future__ import annotations

from dispatcher.extras import needs_extra

with needs_extra("dev", part="the simulator", modules=("h2", "jwt", "cryptography")):
    import cryptography as _cryptography
    import h2 as _h2
    import jwt as _jwt

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token
from dispatcher.dev.simulator.server import Simulator
from dispatcher.dev.simulator.settings import OBSERVED, STRICT, SimulatorSettings

_EXTRA = (_cryptography, _h2, _jwt)

__all__ = (
    "OBSERVED",
    "STRICT",
    "Answer",
    "Form",
    "Simulator",
    "SimulatorSettings",
    "device_token",
    "special_device_token",
)
