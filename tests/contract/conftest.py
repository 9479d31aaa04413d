"""The stage of the contract suite: real TLS, a scripted server, and every implementation of the port."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dispatcher.errors import SigningError
from dispatcher.push_types import Environment
from tests.contract.scripted_server import Script, ScriptedServer, serve
from workers.provider_token import ProviderToken, issued_at
from workers.transport.choice import TRANSPORTS
from workers.transport.member import ConnectionInfo
from workers.transport.port import PushRequest, Transport

#: A moment well inside a provider token window.
NOW: Final = 1_800_000_000.0 + 600

#: How long a condition may take to come true.
PATIENCE_S: Final = 3.0

PUSH: Final = PushRequest(
    environment=Environment.PRODUCTION,
    key_id="KEYID12345",
    device_token="ab" * 32,
    apns_id="0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0",
    topic="com.example.app",
    push_type="alert",
    priority=10,
    expiration=None,
    collapse_id=None,
    payload=b'{"aps":{"alert":"hi"}}',
    deadline_s=PATIENCE_S,
    may_open=lambda: True,
)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests on a fresh event loop each."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


class ObservableTransport(Transport, Protocol):
    """What the suite asks of an implementation: the port, and a view of its connections."""

    def connections(self) -> list[ConnectionInfo]:
        """Describe every connection."""
        ...

    def drain(self, key_id: str) -> None:
        """Let the connections of a key end."""
        ...


@dataclass
class Clock:
    """The state server's clock, moved by hand."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the present."""
        return self.now


class UnsignedTokens:
    """Provider tokens in name only: nobody here checks a signature."""

    def current(self, key_id: str, now: float) -> ProviderToken:
        """Return a token that tells key and window apart."""
        if key_id == "NOSUCHKEY0":
            raise SigningError("no such key")
        window = issued_at(now)
        return ProviderToken(key_id=key_id, team_id="TEAMID1234", issued_at=window, jwt=f"secret-{key_id}-{window}")


@dataclass(frozen=True)
class TlsFiles:
    """A certificate authority and what it signed, as PEM files."""

    ca: Path
    server: Path
    stranger: Path

    def context(self, certificate: Path | None = None, *, alpn: bool = True) -> ssl.SSLContext:
        """Return a server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server)
        if alpn:
            context.set_alpn_protocols(["h2"])
        return context


def _sign(
    subject: str, san: x509.GeneralName | None, issuer: tuple[x509.Certificate, Any] | None
) -> tuple[x509.Certificate, Any]:
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder(name if issuer is None else issuer[0].subject, name, private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=san is None, path_length=None), critical=True)
    )
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([san]), critical=False)
    return builder.sign(private_key if issuer is None else issuer[1], hashes.SHA256()), private_key


def _write(path: Path, certificate: x509.Certificate, private_key: Any = None) -> Path:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    if private_key is not None:
        pem += private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    path.write_bytes(pem)
    return path


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """Make the certificates of this session."""
    return make_tls_files(tmp_path_factory.mktemp("tls"))


def make_tls_files(folder: Path) -> TlsFiles:
    """Make a certificate authority, a certificate for the loopback address and one for somewhere else."""
    authority = _sign("contract suite CA", None, None)
    here = _sign("here", x509.IPAddress(ipaddress.ip_address("127.0.0.1")), authority)
    elsewhere = _sign("elsewhere", x509.DNSName("elsewhere.example"), authority)
    return TlsFiles(
        ca=_write(folder / "ca.pem", authority[0]),
        server=_write(folder / "server.pem", *here),
        stranger=_write(folder / "stranger.pem", *elsewhere),
    )


@dataclass
class Stage:
    """Makes servers and transports, and moves the clock."""

    tls: TlsFiles
    make: Callable[..., ObservableTransport]
    clock: Clock = field(default_factory=Clock)

    @staticmethod
    def push(**changes: Any) -> PushRequest:
        """Return an ordinary push with some fields changed."""
        return push(**changes)

    def server(self, script: Script | None = None) -> AbstractAsyncContextManager[ScriptedServer]:
        """Run a scripted server; it accepts everything unless told otherwise."""
        return serve(script or Script(), self.tls.context())

    @asynccontextmanager
    async def transport(self, url: str, **options: Any) -> AsyncIterator[ObservableTransport]:
        """Open a transport to a server, and close it."""
        endpoints: Mapping[Environment, str] = dict.fromkeys(Environment, url)
        defaults: dict[str, Any] = {
            "ca_file": self.tls.ca,
            "max_connections": 1,
            "tokens": UnsignedTokens(),
            "dice": lambda: 0.0,
        }
        transport = self.make(endpoints=endpoints, now=self.clock, **(defaults | options))
        try:
            yield transport
        finally:
            await transport.close()


def push(**changes: Any) -> PushRequest:
    """Return an ordinary push with some fields changed."""
    return replace(PUSH, **changes)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: It does not.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is waited for happens in the other end's callbacks
            await asyncio.sleep(0.005)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark for what an implementation cannot do."""
    config.addinivalue_line("markers", "beyond(implementation, reason): it cannot pass this, and why")


@pytest.fixture(params=TRANSPORTS)
def implementation(request: pytest.FixtureRequest) -> str:
    """Name one implementation; what it cannot pass is expected to fail, with the reason."""
    for mark in request.node.iter_markers("beyond"):
        if mark.args[0] == request.param:
            request.applymarker(pytest.mark.xfail(reason=mark.args[1], strict=True))
    return str(request.param)


@pytest.fixture
def stage(implementation: str, tls: TlsFiles) -> Stage:
    """Set the stage for one implementation of the port."""
    return Stage(tls=tls, make=TRANSPORTS[implementation])
