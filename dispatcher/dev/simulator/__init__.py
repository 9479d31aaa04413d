"""A stand-in for Apple's push service: HTTP/2 over TLS, Apple's checks in Apple's order, Apple's exact answers.

Start it as a command (`python -m dispatcher.dev.simulator`), or inside a test::

    async with Simulator(directory, settings=SimulatorSettings(device_burst=5)) as simulator:
        simulator.faults.add("goaway", times=1)
        phone = simulator.phone(device_token(1))
        ...  # push to simulator.url, trusting directory / "ca.pem"
        assert phone.lock_screen

A test that is not asynchronous uses `SimulatorThread`, or the fixture `apns` of `dispatcher.dev.pytest_plugin`.

How one request travels::

    listener -> connection (asyncio) -> http2 (h2, no I/O) -> exchange -> checks, authentication -> Answer
                    |-> faults                                    |-> broadcasts -> channels
                                                                  |-> phones, storage, stats, request_log
"""

from __future__ import annotations

from dispatcher.extras import needs_extra

with needs_extra("dev", part="the simulator", modules=("h2", "jwt", "cryptography")):
    import cryptography as _cryptography
    import h2 as _h2
    import jwt as _jwt

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.device_tokens import Form, device_token, special_device_token
from dispatcher.dev.simulator.fault_rules import FaultRule, Faults
from dispatcher.dev.simulator.faults import (
    FAULTS,
    ApnsIdForm,
    ConnectFault,
    Door,
    Fault,
    Goaway,
    HangUp,
    TlsFault,
)
from dispatcher.dev.simulator.hpack_forms import HpackForm
from dispatcher.dev.simulator.phone import Dropped, Phone
from dispatcher.dev.simulator.request_log import LoggedRequest
from dispatcher.dev.simulator.server import Simulator
from dispatcher.dev.simulator.settings import (
    OBSERVED,
    STRICT,
    ChurnScope,
    IdleManner,
    SimulatorSettings,
    TokenIdentity,
)
from dispatcher.dev.simulator.storage import AcceptedPush
from dispatcher.dev.simulator.thread import SimulatorThread

_EXTRA = (_cryptography, _h2, _jwt)

__all__ = (
    "FAULTS",
    "OBSERVED",
    "STRICT",
    "AcceptedPush",
    "Answer",
    "ApnsIdForm",
    "ChurnScope",
    "ConnectFault",
    "Door",
    "Dropped",
    "Fault",
    "FaultRule",
    "Faults",
    "Form",
    "Goaway",
    "HangUp",
    "HpackForm",
    "IdleManner",
    "LoggedRequest",
    "Phone",
    "Simulator",
    "SimulatorSettings",
    "SimulatorThread",
    "TlsFault",
    "TokenIdentity",
    "device_token",
    "special_device_token",
)
