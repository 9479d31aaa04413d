"""What each of Apple's reasons means for a notification: one row each.

A reason that is not in the table is judged by its status, and its text is kept.

Source: "Handling notification responses from APNs".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from workers.transport.port import ApnsAnswer


class Verdict(StrEnum):
    """What an answer means."""

    ACCEPTED = "accepted"
    DEVICE_GONE = "device_gone"
    WRONG_DEVICE = "wrong_device"
    REFUSED = "refused"
    CONFIGURATION = "configuration"
    STALE_CREDENTIAL = "stale_credential"
    TOKEN_CHURN = "token_churn"  # noqa: S105  a verdict, not a secret
    SLOW_DOWN = "slow_down"
    SERVER_TROUBLE = "server_trouble"
    SERVER_LEAVING = "server_leaving"


REASONS: Final[Mapping[str, Verdict]] = {
    "BadCollapseId": Verdict.REFUSED,
    "BadDeviceToken": Verdict.WRONG_DEVICE,
    "BadExpirationDate": Verdict.REFUSED,
    "BadMessageId": Verdict.REFUSED,
    "BadPriority": Verdict.REFUSED,
    "BadTopic": Verdict.CONFIGURATION,
    "DeviceTokenNotForTopic": Verdict.WRONG_DEVICE,
    "DuplicateHeaders": Verdict.REFUSED,
    "IdleTimeout": Verdict.SERVER_LEAVING,
    "InvalidPushType": Verdict.REFUSED,
    "MissingDeviceToken": Verdict.REFUSED,
    "MissingTopic": Verdict.CONFIGURATION,
    "PayloadEmpty": Verdict.REFUSED,
    "TopicDisallowed": Verdict.CONFIGURATION,
    "BadCertificate": Verdict.CONFIGURATION,
    "BadCertificateEnvironment": Verdict.CONFIGURATION,
    "ExpiredProviderToken": Verdict.STALE_CREDENTIAL,
    "Forbidden": Verdict.CONFIGURATION,
    "InvalidProviderToken": Verdict.CONFIGURATION,
    "MissingProviderToken": Verdict.CONFIGURATION,
    "UnrelatedKeyIdInToken": Verdict.STALE_CREDENTIAL,
    # Apple's page and its servers spell this one differently.
    "BadEnvironmentKeyInToken": Verdict.CONFIGURATION,
    "BadEnvironmentKeyIdInToken": Verdict.CONFIGURATION,
    "BadPath": Verdict.REFUSED,
    "MethodNotAllowed": Verdict.REFUSED,
    "ExpiredToken": Verdict.DEVICE_GONE,
    "Unregistered": Verdict.DEVICE_GONE,
    "PayloadTooLarge": Verdict.REFUSED,
    "TooManyProviderTokenUpdates": Verdict.TOKEN_CHURN,
    "TooManyRequests": Verdict.SLOW_DOWN,
    "InternalServerError": Verdict.SERVER_TROUBLE,
    "ServiceUnavailable": Verdict.SERVER_TROUBLE,
    "Shutdown": Verdict.SERVER_LEAVING,
}

_STATUSES: Final[Mapping[int, Verdict]] = {
    200: Verdict.ACCEPTED,
    403: Verdict.CONFIGURATION,
    410: Verdict.DEVICE_GONE,
    429: Verdict.SLOW_DOWN,
}
_SERVER_ERRORS: Final = 500


def judge(answer: ApnsAnswer) -> Verdict:
    """Return what an answer means; total over every status and reason."""
    if answer.is_accepted:
        return Verdict.ACCEPTED
    by_status = Verdict.SERVER_TROUBLE if answer.status >= _SERVER_ERRORS else Verdict.REFUSED
    return REASONS.get(answer.reason, _STATUSES.get(answer.status, by_status))
