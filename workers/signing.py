"""Sign provider tokens, to the same bytes in every process of the fleet.

PyJWT's own ES256 draws a random number for each signature, so two processes would show APNs two tokens where one is
meant. Ours derives that number from the key and the message (RFC 6979), on a private JWS object: the algorithms of
other users of PyJWT in the process stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from dispatcher.errors import SigningError
from dispatcher.extras import needs_extra
from workers import provider_token
from workers.key_files import LoadedKey
from workers.provider_token import ProviderToken

with needs_extra("workers", part="signing provider tokens", modules=("cryptography", "jwt")):
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from jwt import PyJWS
    from jwt.algorithms import ECAlgorithm
    from jwt.exceptions import InvalidKeyError
    from jwt.utils import der_to_raw_signature

ALGORITHM: Final = "ES256"

#: Tokens kept per key: the current one, and its neighbour for a clock that steps back over a change.
KEPT_PER_KEY: Final = 2


class DeterministicES256(ECAlgorithm):
    """ECDSA on P-256 with SHA-256 whose signatures depend on key and message alone.

    Source: RFC 6979 section 3.2.
    """

    def __init__(self) -> None:
        super().__init__(SHA256, SECP256R1)

    def sign(self, msg: bytes, key: EllipticCurvePrivateKey) -> bytes:
        """Return the raw signature, r and s in 32 bytes each (RFC 7518 section 3.4)."""
        return der_to_raw_signature(key.sign(msg, ECDSA(SHA256(), deterministic_signing=True)), key.curve)


def _make_jws() -> PyJWS:
    jws = PyJWS(algorithms=[])
    jws.register_algorithm(ALGORITHM, DeterministicES256())
    return jws


_JWS: Final = _make_jws()


def sign(loaded_key: LoadedKey, issued_at: int) -> ProviderToken:
    """Sign the provider token of one key and window; equal arguments give equal bytes.

    Source: "Establishing a token-based connection to APNs": header `alg` and `kid`, claims `iss` and `iat`.

    Raises:
        SigningError: The key is not on P-256, or the installed OpenSSL cannot sign deterministically.
    """
    claims = json.dumps({"iss": loaded_key.team_id, "iat": issued_at}, separators=(",", ":")).encode()
    # PyJWT adds `typ` unless it is empty; Apple needs none.
    header = {"alg": ALGORITHM, "kid": loaded_key.key_id, "typ": ""}
    try:
        jwt = _JWS.encode(claims, loaded_key.private_key, algorithm=ALGORITHM, headers=header, sort_headers=True)
    except (InvalidKeyError, UnsupportedAlgorithm) as exc:
        raise SigningError(f"[keys.{loaded_key.key_id}] cannot sign: {exc}") from exc
    return ProviderToken(key_id=loaded_key.key_id, team_id=loaded_key.team_id, issued_at=issued_at, jwt=jwt)


class ProviderTokens:
    """The provider tokens of one process; belongs to one thread.

    Signs when a window is first asked for, so at most once per key and window. Never draws a random number, never asks
    the time.
    """

    def __init__(self, loaded_keys: Mapping[str, LoadedKey]) -> None:
        self._loaded_keys = loaded_keys
        self._signed: dict[str, dict[int, ProviderToken]] = {key_id: {} for key_id in loaded_keys}

    def replace(self, loaded_keys: Mapping[str, LoadedKey]) -> set[str]:
        """Sign with other keys from now on; returns the ids of those that are new, changed or gone."""
        before, self._loaded_keys = self._loaded_keys, loaded_keys
        changed = {
            key_id
            for key_id in before.keys() | loaded_keys.keys()
            if key_id not in before or key_id not in loaded_keys or not before[key_id].is_same(loaded_keys[key_id])
        }
        kept = loaded_keys.keys() - changed
        self._signed = {key_id: self._signed[key_id] if key_id in kept else {} for key_id in loaded_keys}
        return changed

    def current(self, key_id: str, now: float) -> ProviderToken:
        """Return the token in use at `now`, Unix seconds of the state server's clock.

        Raises:
            SigningError: The key is not configured, or cannot sign.
        """
        if key_id not in self._loaded_keys:
            raise SigningError(f"[keys.{key_id}] is not configured")
        signed = self._signed[key_id]
        issued_at = provider_token.issued_at(now)
        if issued_at not in signed:
            while len(signed) >= KEPT_PER_KEY:
                del signed[min(signed)]
            signed[issued_at] = sign(self._loaded_keys[key_id], issued_at)
        return signed[issued_at]
