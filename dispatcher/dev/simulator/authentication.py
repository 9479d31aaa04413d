"""The checks of the provider token, each a small function that refuses or lets pass.

Source: "Establishing a token-based connection to APNs"; forum thread 770438 for churn before signature.
"""

from __future__ import annotations

from typing import Final

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.case import Case

MAX_AGE_S: Final = 3600

MISSING: Final = Answer(status=403, reason="MissingProviderToken")
INVALID: Final = Answer(status=403, reason="InvalidProviderToken")
EXPIRED: Final = Answer(status=403, reason="ExpiredProviderToken")
UNRELATED_KEY: Final = Answer(status=403, reason="UnrelatedKeyIdInToken")
#: The wire's spelling; Apple's table writes BadEnvironmentKeyIdInToken.
BAD_ENVIRONMENT: Final = Answer(status=403, reason="BadEnvironmentKeyInToken")
TOO_MANY_UPDATES: Final = Answer(status=429, reason="TooManyProviderTokenUpdates")


def is_present(case: Case) -> Answer | None:
    """Refuse a request without a bearer token."""
    return None if case.provider_token else MISSING


def connection_is_not_wedged(case: Case) -> Answer | None:
    """Refuse everything on a connection that carried an expired provider token, a fresh one too.

    Source: jchambers/pushy issue 476.
    """
    return EXPIRED if case.credentials.is_wedged else None


def changes_rarely(case: Case) -> Answer | None:
    """Refuse a provider token that came too soon after another of its key."""
    key_id = case.shared.reader.key_id(case.provider_token)
    is_admitted = case.credentials.history.admits(key_id, case.provider_token, case.now)
    return None if is_admitted else TOO_MANY_UPDATES


def is_valid(case: Case) -> Answer | None:
    """Refuse what cannot be read, names no key, has a wrong signature, or a team that does not own the key."""
    return None if case.claims is not None else INVALID


def is_young(case: Case) -> Answer | None:
    """Refuse a provider token made more than an hour from now, in either direction."""
    if case.claims is None or abs(case.now - case.claims.issued_at) <= MAX_AGE_S:
        return None
    case.credentials.is_wedged = case.shared.settings.wedge_after_expired
    return EXPIRED


def team_fits_connection(case: Case) -> Answer | None:
    """Refuse a second team on a connection."""
    first_key = case.credentials.first_key
    if case.claims is None or first_key is None or first_key.team_id == case.claims.signing_key.team_id:
        return None
    return INVALID


def environment_fits(case: Case) -> Answer | None:
    """Refuse a key that is bound to the other environment."""
    environment = case.shared.settings.environment
    if case.claims is None or environment is None or case.claims.signing_key.environment in {None, environment}:
        return None
    return BAD_ENVIRONMENT


def key_fits_connection(case: Case) -> Answer | None:
    """Refuse a key unrelated to the first one of the connection; from now on the connection has a first key."""
    if case.claims is None:
        return None
    first_key = case.credentials.first_key or case.claims.signing_key
    if not first_key.may_be_followed_by(case.claims.signing_key):
        return UNRELATED_KEY
    case.credentials.first_key = first_key
    return None
