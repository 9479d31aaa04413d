"""The users of a state server that knows its visitors by name, each with the rights of its role (deploy/users.acl)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit


class Role(StrEnum):
    """Who comes to the state server; also the name it logs in with."""

    ADMIN = "admin"
    OPERATOR = "operator"
    PRODUCER = "producer"
    FEEDBACK = "feedback"
    WORKER = "worker"
    FLOWER = "flower"
    EXPORTER = "exporter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Users, and how each reaches the server.

    Attributes:
        acl_file: Their rights, as the server reads them.
        passwords: By role.
    """

    acl_file: Path
    passwords: Mapping[Role, str]

    def url(self, server_url: str, role: Role) -> str:
        """Return the address by which a role reaches a server."""
        place = urlsplit(server_url)
        password = quote(self.passwords[role], safe="")
        return place._replace(netloc=f"{role}:{password}@{place.hostname}:{place.port}").geturl()
