"""Read and judge provider tokens: what they claim, whether the signature holds, how often they change.

Source: "Establishing a token-based connection to APNs".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jwt
from jwt.types import Options

from dispatcher.dev.simulator.world import SigningKey, World

ALGORITHM: Final = "ES256"
_REMEMBERED: Final = 4096
#: PyJWT only verifies the signature; the age is judged by the simulator's clock, and Apple reads no other claim.
_SIGNATURE_ONLY: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a provider token with a valid signature says.

    Attributes:
        issued_at: Unix seconds.
    """

    signing_key: SigningKey
    issued_at: int


class ProviderTokenReader:
    """Verifies provider tokens, each distinct one once."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Per reader, so that it ends with its simulator: the answer depends on the world's keys.
        self.claims = lru_cache(maxsize=_REMEMBERED)(self._claims)
        self.key_id = lru_cache(maxsize=_REMEMBERED)(self._key_id)
        self.issued_at = lru_cache(maxsize=_REMEMBERED)(self._issued_at)

    def _claims(self, provider_token: str) -> Claims | None:
        """Return what a provider token says, or None when Apple would call it invalid."""
        signing_key = self._world.signing_keys.get(self.key_id(provider_token))
        if signing_key is None:
            return None
        try:
            claims = jwt.decode(
                provider_token,
                self._world.public_keys[signing_key.key_id],
                algorithms=[ALGORITHM],
                options=_SIGNATURE_ONLY,
            )
        except jwt.PyJWTError:
            return None
        issued_at: Any = claims.get("iat")
        if claims.get("iss") != signing_key.team_id or type(issued_at) is not int:
            return None
        return Claims(signing_key=signing_key, issued_at=issued_at)

    def _key_id(self, provider_token: str) -> str:
        """Return the key id a provider token names, if it is one of this world's; otherwise nothing."""
        try:
            key_id = str(jwt.get_unverified_header(provider_token).get("kid"))
        except jwt.PyJWTError:
            return ""
        return key_id if key_id in self._world.signing_keys else ""

    def _issued_at(self, provider_token: str) -> str:
        """Return the iat that a provider token claims, whatever its signature; empty when it cannot be read."""
        try:
            claims = jwt.decode(provider_token, options={**_SIGNATURE_ONLY, "verify_signature": False})
        except jwt.PyJWTError:
            return ""
        return str(claims.get("iat", ""))


class TokenHistory:
    """Remembers when each provider token was first seen, to find those who change theirs too often.

    Args:
        window_s: How long a change counts.
        allowed: Provider tokens of one key that may first appear within the window.
    """

    def __init__(self, *, window_s: float, allowed: int) -> None:
        self._window_s = window_s
        self._allowed = allowed
        self._first_seen: dict[str, dict[str, float]] = {}

    def admits(self, key_id: str, identity: str, now: float) -> bool:
        """Tell whether a provider token is fine: known already, or not one change too many for the key it names.

        Args:
            identity: The provider token, or what else makes two of them the same.
        """
        first_seen = self._first_seen.setdefault(key_id, {})
        if identity in first_seen:
            return True
        if sum(now - seen_at < self._window_s for seen_at in first_seen.values()) >= self._allowed:
            return False
        first_seen[identity] = now
        return True
