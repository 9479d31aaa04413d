"""The simulator's own certificate authority, and the certificate it signs for this machine."""

from __future__ import annotations

import datetime as dt
import ssl
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dispatcher.dev.simulator.world import write_private

CA_FILE: Final = "ca.pem"
SERVER_CERTIFICATE_FILE: Final = "server.pem"
SERVER_KEY_FILE: Final = "server-key.pem"
_VALIDITY: Final = dt.timedelta(days=3650)
_NAMES: Final = (
    x509.DNSName("localhost"),
    x509.IPAddress(IPv4Address("127.0.0.1")),
    x509.IPAddress(IPv6Address("::1")),
)


def open_tls_context(directory: Path) -> ssl.SSLContext:
    """Return the server's side of TLS, with the certificates of a directory or new ones.

    Source: "Sending notification requests to APNs": TLS 1.2 or later, and nothing but HTTP/2 in ALPN.
    """
    files = (directory / CA_FILE, directory / SERVER_CERTIFICATE_FILE, directory / SERVER_KEY_FILE)
    if not all(file.exists() for file in files):
        _write_certificates(*files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files[1], files[2])
    # A client without ALPN, or with other protocols only, gets a connection with none selected, as at Apple.
    context.set_alpn_protocols(["h2"])
    return context


def _write_certificates(ca_file: Path, certificate_file: Path, server_key_file: Path) -> None:
    # The authority's key is thrown away: nobody can ever make another certificate that those who trust ca.pem accept.
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _sign_ca(ca_key)
    server = _sign_server(server_key.public_key(), ca, ca_key)
    server_key_file.unlink(missing_ok=True)
    write_private(
        server_key_file,
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    certificate_file.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))


def _sign_ca(ca_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("apns-dispatcher simulator CA")
    return (
        _builder(name, name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _sign_server(
    public_key: ec.EllipticCurvePublicKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return (
        _builder(_name("apns-dispatcher simulator"), ca.subject, public_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # A day of slack: a container's clock may lag behind its host's.
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
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


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
