"""The checks of the provider token, each a small function that refuses or lets pass; the order stands at the end.

Source: "Establishing a token-based connection to APNs"; forum thread 770438 for churn before signature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.case import Case
from dispatcher.dev.simulator.settings import TokenIdentity

MAX_AGE_S: Final = 3600

MISSING: Final = Answer(status=403, reason="MissingProviderToken")
INVALID: Final = Answer(status=403, reason="InvalidProviderToken")
EXPIRED: Final = Answer(status=403, reason="ExpiredProviderToken")
UNRELATED_KEY: Final = Answer(status=403, reason="UnrelatedKeyIdInToken")
#: The wire's spelling (swift-server-community/APNSwift pull request 229), and that of Apple's table.
BAD_ENVIRONMENT: Final = Answer(status=403, reason="BadEnvironmentKeyInToken")
BAD_ENVIRONMENT_AS_DOCUMENTED: Final = Answer(status=403, reason="BadEnvironmentKeyIdInToken")
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
    reader = case.shared.reader
    identity = case.provider_token
    if case.shared.settings.token_identity is TokenIdentity.ISSUED_AT:
        identity = reader.issued_at(identity) or identity
    is_admitted = case.credentials.history.admits(reader.key_id(case.provider_token), identity, case.now)
    return None if is_admitted else TOO_MANY_UPDATES


def is_valid(case: Case) -> Answer | None:
    """Refuse what cannot be read, names no key or a revoked one, has a wrong signature, or a team not its own."""
    if case.claims is None or case.claims.signing_key.key_id in case.shared.world.revoked:
        return INVALID
    return None


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
    return BAD_ENVIRONMENT_AS_DOCUMENTED if case.shared.settings.has_documented_spelling else BAD_ENVIRONMENT


def key_fits_connection(case: Case) -> Answer | None:
    """Refuse a key unrelated to the first one of the connection; from now on the connection has a first key."""
    if case.claims is None:
        return None
    first_key = case.credentials.first_key
    if first_key is None:
        case.credentials.first_key = case.claims.signing_key
        case.credentials.world_age = case.shared.world.age
        return None
    return None if first_key.may_be_followed_by(case.claims.signing_key) else UNRELATED_KEY


TOKEN_CHECKS: Final[tuple[Callable[[Case], Answer | None], ...]] = (
    is_present,
    connection_is_not_wedged,
    changes_rarely,
    is_valid,
    is_young,
    team_fits_connection,
    environment_fits,
    key_fits_connection,
)
