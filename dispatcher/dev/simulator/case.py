"""What a check may look at: the request, its connection, and the state that all connections share."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.dev.simulator.channels import Channels
from dispatcher.dev.simulator.client_certificates import ClientCertificate
from dispatcher.dev.simulator.devices import Devices
from dispatcher.dev.simulator.provider_tokens import Claims, ProviderTokenReader, TokenHistory
from dispatcher.dev.simulator.registrations import Registration, Registrations
from dispatcher.dev.simulator.request import Request
from dispatcher.dev.simulator.settings import SimulatorSettings
from dispatcher.dev.simulator.world import SigningKey, World


@dataclass(slots=True, kw_only=True)
class Credentials:
    """What a connection has shown of its right to push.

    Attributes:
        history: Provider tokens seen; shared with other connections when the settings count per source address.
        first_key: The key of the first valid provider token; ties the connection to its team and family.
        certificate: Of the client, if it showed one in TLS: it stands for a provider token then.
        first_key: The key of the first valid provider token; ties the connection to its team and family.
        world_age: How much of the world the connection knows: what there was at its first accepted provider token.
        is_wedged: An expired provider token was seen: nothing more is accepted.
        is_stale: The connection was idle for too long, and answers nothing but 500.
        last_request_at: Simulated Unix seconds of the request before; None before the first.
    """

    history: TokenHistory
    certificate: ClientCertificate | None = None
    first_key: SigningKey | None = None
    world_age: int = 0
    is_wedged: bool = False
    is_stale: bool = False
    last_request_at: float | None = None

    @property
    def may_push(self) -> bool:
        """Whether Apple has seen a good reason to give the connection all its streams."""
        return self.certificate is not None or (self.first_key is not None and not self.is_wedged)

    def note_request(self, now: float, error_after_idle_s: float) -> None:
        """Remember when a request came, and whether it was one after too long a silence."""
        if self.last_request_at is not None and now - self.last_request_at > error_after_idle_s > 0:
            self.is_stale = True
        self.last_request_at = now


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all connections of one simulator share."""

    settings: SimulatorSettings
    world: World
    reader: ProviderTokenReader
    devices: Devices
    registrations: Registrations
    channels: Channels


@dataclass(slots=True, kw_only=True)  # not frozen: that would cost as much as all the checks
class Case:
    """One request before the checks.

    Attributes:
        device_token: In lower case; None when the path is not that of a device.
        topic: The value of apns-topic; without one, the only topic of the client's certificate.
        bundle_id: In the path of a broadcast or of channel management; otherwise empty.
        registration: What is known of the device beyond the form of its device token.
        claims: What the provider token says, or None when it is invalid or absent.
        now: Simulated Unix seconds.
    """

    request: Request
    device_token: str | None
    topic: str
    bundle_id: str
    registration: Registration | None
    provider_token: str
    claims: Claims | None
    credentials: Credentials
    shared: Shared
    now: float


def make_case(request: Request, credentials: Credentials, shared: Shared, now: float, *, bundle_id: str = "") -> Case:
    """Gather what the checks of a request will look at."""
    # Source: "Establishing a certificate-based connection to APNs": with a certificate the header is not looked at.
    certificate = credentials.certificate
    provider_token = "" if certificate else request.provider_token
    default_topic = certificate.default_topic if certificate else ""
    device_token = request.device_token
    return Case(
        request=request,
        device_token=device_token,
        topic=request.header("apns-topic") or default_topic,
        bundle_id=bundle_id,
        registration=shared.registrations.get(device_token),
        provider_token=provider_token,
        claims=shared.reader.claims(provider_token) if provider_token else None,
        credentials=credentials,
        shared=shared,
        now=now,
    )
