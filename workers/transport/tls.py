"""Whom a connection to APNs trusts, and how its failures read.

Apple's servers have had certificates below USERTrust RSA Certification Authority since 2025. Trust stores drop old
roots (Mozilla's leaves this one in 2028), so it is shipped beside the system's store; nothing is pinned, since Apple
has changed its root before.

Source: "Communicating with APNs"; Apple's notice "Apple Push Notification service server certificate update".
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from dispatcher.errors import SettingsError

ALPN: Final = "h2"

#: USERTrust RSA Certification Authority, valid until 2038-01-18. PEM, named so that no rule against keys leaves it out.
USERTRUST_FILE: Final = Path(__file__).with_name("usertrust.crt")
USERTRUST_SHA256: Final = "e793c9b02fd8aa13e21c31228accb08119643b749c898964b1746d46c3d4cbd2"


def make_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Return the client's side of TLS: verified, at least 1.2, HTTP/2 by ALPN.

    Args:
        ca_file: The only authority trusted, for a stand-in; None for the system's and Apple's.

    Raises:
        SettingsError: `ca_file` cannot be read.
    """
    if ca_file is None:
        context = ssl.create_default_context()
        context.load_verify_locations(USERTRUST_FILE)
    else:
        try:
            context = ssl.create_default_context(cafile=str(ca_file))
        except OSError as exc:
            raise SettingsError([f"[endpoints] ca_file {ca_file}: {describe(exc)}"]) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # some builds of Python leave it to the system's configuration
    context.set_alpn_protocols([ALPN])
    return context


def describe(error: OSError) -> str:
    """Return what went wrong, in the shortest words the error has."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or str(error) or type(error).__name__
