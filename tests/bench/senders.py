"""The senders that run in this process: our transports and stock aioapns, one connection each.

Stock aioapns loses count of its streams when the server changes how many it allows. The sink allows a thousand from the
start, which is what aioapns assumes: nothing changes, and no run is void for that.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

from dispatcher import Settings
from dispatcher.dev.simulator.certificates import CA_FILE
from dispatcher.dev.simulator.world import CONFIG_FILE, TEAM_A, key_file
from dispatcher.push_types import Environment
from tests.bench.pushes import APP, PAYLOAD, device_token
from tests.bench.sink_frames import BENCH_ID_PREFIX
from workers.key_files import load_signing_keys
from workers.signing import ProviderTokens
from workers.transport.aioapns_adapter import AioapnsTransport
from workers.transport.multiplexed import MultiplexedTransport
from workers.transport.pooled import PooledTransport
from workers.transport.port import PushRequest

EXPIRES_IN_S: Final = 3600
OURS: Final = "our multiplexed transport"
STOCK: Final = "stock aioapns"

_KEY_ID: Final = "KEYLEGACY0"
_DEADLINE_S: Final = 30.0
_PAYLOAD_BYTES: Final = json.dumps(PAYLOAD, separators=(",", ":")).encode()
_CLOSE_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A way to send, and its end.

    Attributes:
        send: Sends the n-th push, returns the status.
        close: Returns once its connection is closed.
    """

    send: Callable[[int], Awaitable[int]]
    close: Callable[[], Awaitable[None]]


def apns_id(number: int) -> str:
    """Return an apns-id that the sink repeats."""
    return f"{BENCH_ID_PREFIX}{number:012x}"


def push_request(number: int) -> PushRequest:
    """Return the n-th push, as our transports are given it."""
    return PushRequest(
        environment=Environment.PRODUCTION,
        key_id=_KEY_ID,
        device_token=device_token(number),
        apns_id=apns_id(number),
        topic=APP,
        push_type="alert",
        priority=10,
        expiration=int(time.time()) + EXPIRES_IN_S,
        collapse_id=None,
        payload=_PAYLOAD_BYTES,
        deadline_s=_DEADLINE_S,
        may_open=lambda: True,
    )


def provider_token(directory: Path) -> str:
    """Return a provider token of the world in a directory."""
    return _tokens(directory).current(_KEY_ID, time.time()).jwt


def _ours(transport_class: type[PooledTransport], directory: Path, url: str) -> Sender:
    """Prepare one of our transports on the running loop; it connects when the first push needs it."""
    transport = transport_class(
        endpoints={Environment.PRODUCTION: url},
        ca_file=directory / CA_FILE,
        max_connections=1,
        tokens=_tokens(directory),
        now=time.time,
        dice=random.random,
    )

    async def send(number: int) -> int:
        return (await transport.send(push_request(number))).status

    return Sender(send=send, close=transport.close)


def _stock(directory: Path, url: str) -> Sender:
    """Prepare stock aioapns on the running loop; it connects when the first push needs it."""
    client = APNs(
        key=(directory / key_file(_KEY_ID)).read_text(encoding="utf-8"),
        key_id=_KEY_ID,
        team_id=TEAM_A,
        topic=APP,
        max_connections=1,
        ssl_context=ssl.create_default_context(cafile=directory / CA_FILE),
    )
    client.pool.protocol_class = _at(url)

    async def send(number: int) -> int:
        request = NotificationRequest(
            device_token=device_token(number),
            message=dict(PAYLOAD),
            notification_id=apns_id(number),
            time_to_live=EXPIRES_IN_S,
            priority=10,
            push_type=PushType.ALERT,
        )
        return int((await client.send_notification(request)).status)

    async def close() -> None:
        client.pool.close()
        while client.pool.connections:  # noqa: ASYNC110 - aioapns tells nobody when one has closed
            await asyncio.sleep(_CLOSE_POLL_S)

    return Sender(send=send, close=close)


def _at(url: str) -> type[APNsProductionClientProtocol]:
    """Return stock aioapns' protocol, but for the address."""
    address = urlsplit(url)

    class Elsewhere(APNsProductionClientProtocol):
        APNS_SERVER = address.hostname or ""
        APNS_PORT = address.port or 0

    return Elsewhere


def _tokens(directory: Path) -> ProviderTokens:
    settings = Settings.from_env(
        {"APNS_BROKER_URL": "redis://127.0.0.1:1/0", "APNS_CONFIG": str(directory / CONFIG_FILE)}
    )
    return ProviderTokens(load_signing_keys(settings))


#: What it is called in the table -> how it is prepared, of the directory of a world and the sink's URL.
SENDERS: Final[Mapping[str, Callable[[Path, str], Sender]]] = {
    OURS: partial(_ours, MultiplexedTransport),
    "our aioapns transport": partial(_ours, AioapnsTransport),
    STOCK: _stock,
}
