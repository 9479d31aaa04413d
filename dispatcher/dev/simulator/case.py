"""What a check may look at: the request, its connection, and the state that all connections share."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.dev.simulator.devices import Devices
from dispatcher.dev.simulator.provider_tokens import Claims, ProviderTokenReader, TokenHistory
from dispatcher.dev.simulator.request import Request
from dispatcher.dev.simulator.settings import SimulatorSettings
from dispatcher.dev.simulator.world import SigningKey, World


@dataclass(slots=True, kw_only=True)
class Credentials:
    """What a connection has shown of its right to push.

    Attributes:
        history: Provider tokens seen; shared with other connections when the settings count per source address.
        first_key: The key of the first valid provider token; ties the connection to its team and family.
        is_wedged: An expired provider token was seen: nothing more is accepted.
    """

    history: TokenHistory
    first_key: SigningKey | None = None
    is_wedged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all connections of one simulator share."""

    settings: SimulatorSettings
    world: World
    reader: ProviderTokenReader
    devices: Devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request before the checks.

    Attributes:
        device_token: In lower case; None when the path is not that of a device.
        claims: What the provider token says, or None when it is invalid or absent.
        now: Simulated Unix seconds.
    """

    request: Request
    device_token: str | None
    provider_token: str
    claims: Claims | None
    credentials: Credentials
    shared: Shared
    now: float


def make_case(request: Request, credentials: Credentials, shared: Shared, now: float) -> Case:
    """Gather what the checks of a request will look at."""
    provider_token = request.provider_token
    return Case(
        request=request,
        device_token=request.device_token,
        provider_token=provider_token,
        claims=shared.reader.claims(provider_token) if provider_token else None,
        credentials=credentials,
        shared=shared,
        now=now,
    )
