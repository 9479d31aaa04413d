"""The server's side of TLS: as Apple's, or wrong in a way that a client must notice."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dispatcher.dev.simulator import authority
from dispatcher.dev.simulator.authority import Wanted
from dispatcher.dev.simulator.faults import TlsFault

CA_FILE: Final = "ca.pem"
SERVER_CERTIFICATE_FILE: Final = authority.SERVER.file
SERVER_KEY_FILE: Final = authority.SERVER.key_file

_SHOWN: Final[Mapping[TlsFault, Wanted]] = {
    TlsFault.UNTRUSTED: authority.UNTRUSTED,
    TlsFault.WRONG_HOST: authority.WRONG_HOST,
    TlsFault.EXPIRED: authority.EXPIRED,
}


def open_tls_context(directory: Path, fault: TlsFault | None = None) -> ssl.SSLContext:
    """Return the server's side of TLS, with the certificates of a directory or new ones.

    Source: "Sending notification requests to APNs": TLS 1.2 or later, and nothing but HTTP/2 in ALPN.
    """
    ca_file = directory / CA_FILE
    files = [directory / file for wanted in authority.ALL for file in (wanted.file, wanted.key_file)]
    if not all(file.exists() for file in (ca_file, *files)):
        authority.write_certificates(directory, ca_file)
    shown = authority.SERVER if fault is None else _SHOWN.get(fault, authority.SERVER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / shown.file, directory / shown.key_file)
    # Providers that have no signing key show a certificate.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(ca_file)
    if fault is not TlsFault.NO_ALPN:
        # A client without ALPN, or with other protocols only, gets a connection with none selected, as at Apple.
        context.set_alpn_protocols(["h2"])
    return context
