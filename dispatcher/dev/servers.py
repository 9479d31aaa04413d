"""Which servers a stack works with, and what its programs are told of them."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.users import Role, Users


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The servers of a stack; by default one of its own is broker and state server, and everybody may do everything.

    Attributes:
        broker_url: The broker, which somebody else runs; None for the stack's own server.
        state_url: Where the state is; None for the stack's own server.
        users: Whom its own server knows; None for nobody in particular.
    """

    broker_url: str | None = None
    state_url: str | None = None
    users: Users | None = None

    def env(self, own: EmbeddedServer, role: Role) -> dict[str, str]:
        """Return the environment variables that say where they are, to whoever has a role."""
        own_url = own.url_of(role)
        if not self.broker_url and not self.state_url:
            return {"APNS_BROKER_URL": own_url}
        return {"APNS_BROKER_URL": self.broker_url or own_url, "APNS_STATE_URL": self.state_url or own_url}
