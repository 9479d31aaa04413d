"""The simulator's own certificate authority: it signs once, what is right and what is wrong, and is thrown away."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from dispatcher.dev.simulator.client_certificates import WORKS_IN
from dispatcher.dev.simulator.world import write_private
from dispatcher.push_types import Environment

_VALIDITY: Final = dt.timedelta(days=3650)
_DAY: Final = dt.timedelta(days=1)
_HERE: Final[tuple[x509.GeneralName, ...]] = (
    x509.DNSName("localhost"),
    x509.IPAddress(IPv4Address("127.0.0.1")),
    x509.IPAddress(IPv6Address("::1")),
)
_ELSEWHERE: Final = (x509.DNSName("elsewhere.example.com"),)
#: The content of an extension that says all by being there: ASN.1's NULL.
_NULL: Final = b"\x05\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A certificate to be signed.

    Attributes:
        file: Where it goes; its private key goes beside it, with "-key".
        purpose: Of the key: server or client.
        names: It is good for.
        bundle_id: Of the app whose provider shows it; empty for a server.
        environment: It works in; None for a server.
        is_expired: Its time is over.
        is_signed_by_us: Otherwise by an authority that nobody knows.
    """

    file: str
    purpose: ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH
    names: Iterable[x509.GeneralName] = _HERE
    bundle_id: str = ""
    environment: Environment | None = None
    is_expired: bool = False
    is_signed_by_us: bool = True

    @property
    def key_file(self) -> str:
        """The file of its private key."""
        return self.file.replace(".pem", "-key.pem")


SERVER: Final = Wanted(file="server.pem")
UNTRUSTED: Final = Wanted(file="untrusted.pem", is_signed_by_us=False)
WRONG_HOST: Final = Wanted(file="wrong-host.pem", names=_ELSEWHERE)
EXPIRED: Final = Wanted(file="expired.pem", is_expired=True)


def _client(environment: Environment) -> Wanted:
    return Wanted(
        file=f"client-{environment}.pem",
        purpose=ExtendedKeyUsageOID.CLIENT_AUTH,
        names=(),
        bundle_id="com.ex.a",
        environment=environment,
    )


#: What a provider of the app com.ex.a shows instead of provider tokens.
CLIENTS: Final = {environment: _client(environment) for environment in Environment}
ALL: Final = (SERVER, UNTRUSTED, WRONG_HOST, EXPIRED, *CLIENTS.values())


def write_certificates(directory: Path, ca_file: Path) -> None:
    """Make an authority and everything it shall ever sign."""
    # The authority's key is thrown away: nobody can ever make another certificate that those who trust ca.pem accept.
    ca_key, stranger_key = _make_key(), _make_key()
    ca, stranger = _sign_ca(ca_key), _sign_ca(stranger_key)
    for wanted in ALL:
        signer = (ca, ca_key) if wanted.is_signed_by_us else (stranger, stranger_key)
        _write(directory, wanted, *signer)
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))


def _write(directory: Path, wanted: Wanted, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> None:
    private_key = _make_key()
    key_file = directory / wanted.key_file
    key_file.unlink(missing_ok=True)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(key_file, pem)
    certificate = _sign(wanted, private_key.public_key(), ca, ca_key)
    (directory / wanted.file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _sign_ca(ca_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("apns-dispatcher simulator CA")
    return (
        _builder(name, name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _sign(
    wanted: Wanted, public_key: ec.EllipticCurvePublicKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    subject = _name("apns-dispatcher simulator", wanted.bundle_id)
    builder = (
        _builder(subject, ca.subject, public_key, is_expired=wanted.is_expired)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([wanted.purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if wanted.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted.names), critical=False)
    if wanted.environment is not None:
        works_in = x509.UnrecognizedExtension(WORKS_IN[wanted.environment], _NULL)
        builder = builder.add_extension(works_in, critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, *, is_expired: bool = False
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # A day of slack: a container's clock may lag behind its host's.
        .not_valid_before(now - (_VALIDITY if is_expired else _DAY))
        .not_valid_after(now - _DAY if is_expired else now + _VALIDITY)
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, bundle_id: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if bundle_id:
        attributes.insert(0, x509.NameAttribute(NameOID.USER_ID, bundle_id))
    return x509.Name(attributes)
