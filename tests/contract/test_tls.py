"""Apple's authority is trusted whatever the system's store holds, and nobody else is trusted by it."""

from __future__ import annotations

import hashlib
import ssl

from tests.contract.conftest import TlsFiles
from workers.transport.tls import USERTRUST_FILE, USERTRUST_SHA256, make_tls


def test_shipped_root_is_the_one_apple_uses() -> None:
    """The file holds one certificate, USERTrust RSA, by its published fingerprint."""
    der = ssl.PEM_cert_to_DER_cert(USERTRUST_FILE.read_text(encoding="ascii"))
    assert hashlib.sha256(der).hexdigest() == USERTRUST_SHA256


def test_apples_root_is_trusted_beside_the_systems() -> None:
    """The shipped root is in the context of production, once, with verification of names."""
    context = make_tls(None)
    fingerprints = [hashlib.sha256(der).hexdigest() for der in context.get_ca_certs(binary_form=True)]
    assert fingerprints.count(USERTRUST_SHA256) == 1
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_authority_of_a_stand_in_is_the_only_one(tls: TlsFiles) -> None:
    """With `ca_file` a certificate of Apple's authority would be refused."""
    assert len(make_tls(tls.ca).get_ca_certs()) == 1
