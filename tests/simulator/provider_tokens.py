"""Provider tokens of every kind, right and wrong."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dispatcher.dev.simulator.world import SIGNING_KEYS

if TYPE_CHECKING:
    from tests.simulator.running import RunningSimulator

TEAMS = {signing_key.key_id: signing_key.team_id for signing_key in SIGNING_KEYS}
LEGACY = "KEYLEGACY0"


class ProviderTokens:
    """Signs provider tokens as a case wants them; the same recipe in the same second gives the same one."""

    def __init__(self, apns: RunningSimulator) -> None:
        self._apns = apns
        self._made: dict[str, str] = {}
        self._news = itertools.count()

    def make(self, recipe: Mapping[str, Any]) -> str:
        """Return a provider token.

        Args:
            recipe: `raw` text; or what differs from a good one: kid, iss, iat (false leaves them out), age_s, alg,
                signer, is_new.
        """
        if "raw" in recipe:
            return str(recipe["raw"])
        number = next(self._news) if recipe.get("is_new") else ""
        issued_at = int(self._apns.clock.now - recipe.get("age_s", 0))
        rest = sorted((name, str(value)) for name, value in recipe.items() if name not in {"age_s", "scheme"})
        name = f"{issued_at} {rest} {number}"
        if name not in self._made:
            self._made[name] = self._sign(recipe)
        return self._made[name]

    def _sign(self, recipe: Mapping[str, Any]) -> str:
        kid = recipe.get("kid", LEGACY)
        issued_at = int(self._apns.clock.now - recipe.get("age_s", 0))
        iat = {"text": str(issued_at), "milliseconds": issued_at * 1000}.get(recipe.get("iat", ""), issued_at)
        claims = {"iss": recipe.get("iss", TEAMS.get(kid, TEAMS[LEGACY])), "iat": iat}
        claims = {name: value for name, value in claims.items() if recipe.get(name, True) is not False}
        algorithm = recipe.get("alg", "ES256")
        headers = {"kid": kid} if kid else {}
        return jwt.encode(
            claims, self._key(algorithm, str(recipe.get("signer", kid or LEGACY))), algorithm=algorithm, headers=headers
        )

    def _key(self, algorithm: str, signer: str) -> Any:
        if algorithm == "none":
            return None
        if algorithm == "HS256":
            return "s" * 32
        if algorithm == "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if signer == "new":
            return ec.generate_private_key(ec.SECP256R1())
        pem = (self._apns.directory / f"AuthKey_{signer}.p8").read_bytes()
        return serialization.load_pem_private_key(pem, password=None)
