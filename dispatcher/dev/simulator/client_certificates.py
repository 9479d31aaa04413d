"""What a client certificate says: which topics its owner may push to, and in which of Apple's worlds.

Source: "Establishing a certificate-based connection to APNs"; the extensions of Apple's push certificates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from dispatcher.push_types import Environment

#: Apple's extensions that only say by being there where a certificate works.
WORKS_IN: Final = {
    Environment.SANDBOX: ObjectIdentifier("1.2.840.113635.100.6.3.1"),
    Environment.PRODUCTION: ObjectIdentifier("1.2.840.113635.100.6.3.2"),
}
#: Apple's extension with the topics beside the bundle id: here as text with a space between them.
TOPICS: Final = ObjectIdentifier("1.2.840.113635.100.6.3.6")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a client may do that showed a certificate.

    Attributes:
        topics: It may push to.
        default_topic: Of a request that names none; empty when there are several.
        environments: It works in.
    """

    topics: frozenset[str]
    default_topic: str
    environments: frozenset[Environment]

    def works_in(self, environment: Environment | None) -> bool:
        """Tell whether it works in an environment; None is both at once."""
        return environment is None or environment in self.environments


def read_client_certificate(der: bytes | None) -> ClientCertificate | None:
    """Return what the certificate of a client says; None when it showed none, or one without a bundle id."""
    if der is None:
        return None
    certificate = x509.load_der_x509_certificate(der)
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.USER_ID)]
    topics = frozenset((*names, *_more_topics(certificate)))
    if not topics:
        return None
    oids = {extension.oid for extension in certificate.extensions}
    return ClientCertificate(
        topics=topics,
        default_topic=next(iter(topics)) if len(topics) == 1 else "",
        environments=frozenset(environment for environment, oid in WORKS_IN.items() if oid in oids),
    )


def _more_topics(certificate: x509.Certificate) -> list[str]:
    for extension in certificate.extensions:
        if extension.oid == TOPICS and isinstance(extension.value, x509.UnrecognizedExtension):
            return extension.value.value.decode().split()
    return []
