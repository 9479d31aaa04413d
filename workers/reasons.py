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
    KEY_REFUSED = "key_refused"
    TOPIC_REFUSED = "topic_refused"
    STALE_CREDENTIAL = "stale_credential"
    TOKEN_CHURN = "token_churn"  # noqa: S105  a verdict, not a secret
    SLOW_DOWN = "slow_down"
    SERVER_TROUBLE = "server_trouble"
    SERVER_FAULT = "server_fault"
    SERVER_LEAVING = "server_leaving"


REASONS: Final[Mapping[str, Verdict]] = {
    "BadCollapseId": Verdict.REFUSED,
    "BadDeviceToken": Verdict.WRONG_DEVICE,
    "BadExpirationDate": Verdict.REFUSED,
    "BadMessageId": Verdict.REFUSED,
    "BadPriority": Verdict.REFUSED,
    "BadTopic": Verdict.TOPIC_REFUSED,
    "DeviceTokenNotForTopic": Verdict.WRONG_DEVICE,
    "DuplicateHeaders": Verdict.REFUSED,
    "IdleTimeout": Verdict.SERVER_LEAVING,
    "InvalidPushType": Verdict.REFUSED,
    "MissingDeviceToken": Verdict.REFUSED,
    "MissingTopic": Verdict.TOPIC_REFUSED,
    "PayloadEmpty": Verdict.REFUSED,
    "TopicDisallowed": Verdict.TOPIC_REFUSED,
    "BadCertificate": Verdict.KEY_REFUSED,
    "BadCertificateEnvironment": Verdict.KEY_REFUSED,
    "ExpiredProviderToken": Verdict.STALE_CREDENTIAL,
    "Forbidden": Verdict.KEY_REFUSED,
    "InvalidProviderToken": Verdict.KEY_REFUSED,
    "MissingProviderToken": Verdict.KEY_REFUSED,
    "UnrelatedKeyIdInToken": Verdict.STALE_CREDENTIAL,
    # Apple's page and its servers spell this one differently. The key is good elsewhere: what is wrong is the app that
    # uses it here, so that other apps of the key go on.
    "BadEnvironmentKeyInToken": Verdict.TOPIC_REFUSED,
    "BadEnvironmentKeyIdInToken": Verdict.TOPIC_REFUSED,
    "BadPath": Verdict.REFUSED,
    "MethodNotAllowed": Verdict.REFUSED,
    "ExpiredToken": Verdict.DEVICE_GONE,
    "Unregistered": Verdict.DEVICE_GONE,
    "PayloadTooLarge": Verdict.REFUSED,
    "TooManyProviderTokenUpdates": Verdict.TOKEN_CHURN,
    "TooManyRequests": Verdict.SLOW_DOWN,
    "InternalServerError": Verdict.SERVER_FAULT,
    "ServiceUnavailable": Verdict.SERVER_TROUBLE,
    "Shutdown": Verdict.SERVER_LEAVING,
}


class Bearing(StrEnum):
    """What a verdict says about the key and the app a push was sent for."""

    FINE = "fine"
    NOTHING = "nothing"
    STOPS_KEY = "stops_key"
    STOPS_APP = "stops_app"
    STALE_KEY = "stale_key"
    RESTS_KEY = "rests_key"


_STATUSES: Final[Mapping[int, Verdict]] = {
    200: Verdict.ACCEPTED,
    403: Verdict.KEY_REFUSED,
    410: Verdict.DEVICE_GONE,
    429: Verdict.SLOW_DOWN,
    500: Verdict.SERVER_FAULT,
}
_SERVER_ERRORS: Final = 500


#: Verdicts that one device token may well get, but not very many in a row.
SUSPICIOUS: Final = frozenset({Verdict.WRONG_DEVICE})

#: Verdicts that are about one device token, which is to be left alone for a while.
SLOWING: Final = frozenset({Verdict.SLOW_DOWN})

#: Verdicts after which more of the same would only do harm.
STOPPING: Final = frozenset({Verdict.KEY_REFUSED, Verdict.TOPIC_REFUSED, Verdict.STALE_CREDENTIAL})


def judge(answer: ApnsAnswer) -> Verdict:
    """Return what an answer means; total over every status and reason."""
    if answer.is_accepted:
        return Verdict.ACCEPTED
    by_status = Verdict.SERVER_TROUBLE if answer.status >= _SERVER_ERRORS else Verdict.REFUSED
    return REASONS.get(answer.reason, _STATUSES.get(answer.status, by_status))


def bearing(verdict: Verdict) -> Bearing:
    """Return what a verdict says about key and app; a verdict that is left out here is a type error."""
    match verdict:
        case Verdict.ACCEPTED | Verdict.DEVICE_GONE | Verdict.WRONG_DEVICE | Verdict.REFUSED | Verdict.SLOW_DOWN:
            return Bearing.FINE
        case Verdict.SERVER_TROUBLE | Verdict.SERVER_FAULT | Verdict.SERVER_LEAVING:
            return Bearing.NOTHING
        case Verdict.KEY_REFUSED:
            return Bearing.STOPS_KEY
        case Verdict.TOPIC_REFUSED:
            return Bearing.STOPS_APP
        case Verdict.STALE_CREDENTIAL:
            return Bearing.STALE_KEY
        case Verdict.TOKEN_CHURN:
            return Bearing.RESTS_KEY
