"""Broadcast pushes and channel management: their own paths, checks and answers.

Apple serves them on other hosts and ports (443, 2195, 2196); here everything is on the one port of the simulator.

Source: "Sending broadcast push notification requests to APNs"; "Sending channel management requests to APNs";
"Handling error responses from Apple Push Notification service".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.dev.simulator.answers import ACCEPTED, Answer
from dispatcher.dev.simulator.authentication import TOKEN_CHECKS
from dispatcher.dev.simulator.case import Case
from dispatcher.dev.simulator.channels import Channel
from dispatcher.dev.simulator.checks import (
    BAD_EXPIRATION_DATE,
    BAD_MESSAGE_ID,
    BAD_PRIORITY,
    INVALID_PUSH_TYPE,
    PAYLOAD_TOO_LARGE,
    PRIORITIES,
    TOPIC_DISALLOWED,
    Check,
    duplicate_headers,
    expiration,
    is_apns_id,
    payload_present,
)

BROADCAST_MAX_PAYLOAD_BYTES: Final = 5120
PUSH_TYPE: Final = "liveactivity"
_MAX_CHANNEL_ID_CHARACTERS: Final = 64
_POLICIES: Final = frozenset({0, 1})
_ATTRIBUTES: Final = frozenset({"message-storage-policy", "push-type"})


def _refuse(reason: str, status: int = 400) -> Answer:
    return Answer(status=status, reason=reason)


TOPIC_MISMATCH: Final = _refuse("TopicMismatch", 403)
FEATURE_NOT_ENABLED: Final = _refuse("FeatureNotEnabled")
MISSING_CHANNEL_ID: Final = _refuse("MissingChannelId")
BAD_CHANNEL_ID: Final = _refuse("BadChannelId")
CHANNEL_NOT_REGISTERED: Final = _refuse("ChannelNotRegistered")
MISSING_PUSH_TYPE: Final = _refuse("MissingPushType")
BAD_REQUEST_PAYLOAD: Final = _refuse("BadRequestPayload")
BAD_REQUEST_PARAMS: Final = _refuse("BadRequestParams")
#: In no document of Apple's; found by a published probe.
MISSING_CHANNEL_QUEUE_SIZE: Final = _refuse("MissingChannelQueueSize")
CANNOT_CREATE_CHANNEL: Final = _refuse("CannotCreateChannelConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method on one path.

    Attributes:
        checks: In order, behind those of the credentials.
        act: Does what was asked, once all checks are passed.
    """

    checks: tuple[Check, ...]
    act: Callable[[Case], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path with a bundle id in it.

    Attributes:
        endpoints: By method; any other is not allowed.
    """

    path: re.Pattern[str]
    endpoints: Mapping[str, Endpoint]


def find_route(path: str) -> tuple[Route, str] | None:
    """Return the route of a path and the bundle id in it, None for a path that is not one of these."""
    for route in ROUTES:
        found = route.path.fullmatch(path)
        if found is not None:
            return route, found[1]
    return None


def judge(case: Case, endpoint: Endpoint) -> Answer:
    """Return the answer to a request of this kind; when it is accepted, what it asks is done."""
    token_checks = () if case.credentials.certificate else TOKEN_CHECKS
    for check in (duplicate_headers, *token_checks, _request_id, _bundle_id, _feature, *endpoint.checks):
        answer = check(case)
        if answer is not None:
            return answer
    return endpoint.act(case)


def channel_of(case: Case) -> Channel | None:
    """Return the channel that a request names."""
    return case.shared.channels.get(case.bundle_id, case.request.header("apns-channel-id"))


def _request_id(case: Case) -> Answer | None:
    ids = (case.request.headers.get(name) for name in ("apns-request-id", "apns-id"))
    return None if all(each is None or is_apns_id(each) for each in ids) else BAD_MESSAGE_ID


def _bundle_id(case: Case) -> Answer | None:
    topic, certificate = case.shared.world.topics.get(case.bundle_id), case.credentials.certificate
    if topic is None:
        return TOPIC_MISMATCH
    if topic.suffix:
        return TOPIC_DISALLOWED
    if certificate is not None:
        return None if case.bundle_id in certificate.topics else TOPIC_MISMATCH
    may_push = case.claims is not None and case.claims.signing_key.may_push_to(topic.app)
    return None if may_push else TOPIC_MISMATCH


def _feature(case: Case) -> Answer | None:
    return None if case.shared.world.topics[case.bundle_id].app.has_broadcast else FEATURE_NOT_ENABLED


def _channel_id(case: Case) -> Answer | None:
    channel_id = case.request.header("apns-channel-id")
    if not channel_id:
        return MISSING_CHANNEL_ID
    try:
        base64.b64decode(channel_id, validate=True)
    except binascii.Error:
        return BAD_CHANNEL_ID
    return BAD_CHANNEL_ID if len(channel_id) > _MAX_CHANNEL_ID_CHARACTERS else None


def _channel_registered(case: Case) -> Answer | None:
    return None if channel_of(case) else CHANNEL_NOT_REGISTERED


def _push_type(case: Case) -> Answer | None:
    push_type = case.request.header("apns-push-type")
    if not push_type:
        return MISSING_PUSH_TYPE
    # Apple spells it in three ways on its own pages.
    return None if push_type.lower() == PUSH_TYPE else INVALID_PUSH_TYPE


def _priority(case: Case) -> Answer | None:
    return None if case.request.header("apns-priority") in PRIORITIES else BAD_PRIORITY


def _expiration(case: Case) -> Answer | None:
    value, channel = case.request.header("apns-expiration"), channel_of(case)
    if not value:
        return BAD_EXPIRATION_DATE
    stores_nothing = channel is not None and channel.storage_policy == 0
    return expiration(case) or (BAD_EXPIRATION_DATE if stores_nothing and value != "0" else None)


def _payload_size(case: Case) -> Answer | None:
    return PAYLOAD_TOO_LARGE if len(case.request.payload) > BROADCAST_MAX_PAYLOAD_BYTES else None


def _channel_body(case: Case) -> Answer | None:
    body = _read_body(case)
    if body is None:
        return BAD_REQUEST_PAYLOAD
    if not _ATTRIBUTES.issuperset(body):
        return BAD_REQUEST_PARAMS
    if "push-type" not in body:
        return MISSING_PUSH_TYPE
    if str(body["push-type"]).lower() != PUSH_TYPE:
        return INVALID_PUSH_TYPE
    policy = body.get("message-storage-policy")
    return None if type(policy) is int and policy in _POLICIES else MISSING_CHANNEL_QUEUE_SIZE


def _read_body(case: Case) -> dict[str, Any] | None:
    try:
        body = json.loads(case.request.payload)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _create(case: Case) -> Answer:
    policy = (_read_body(case) or {})["message-storage-policy"]
    channel = case.shared.channels.create(case.bundle_id, policy)
    if channel is None:
        return CANNOT_CREATE_CHANNEL
    return Answer(status=201, fields=(("apns-channel-id", channel.channel_id),))


def _read(case: Case) -> Answer:
    channel = channel_of(case)
    policy = channel.storage_policy if channel else 0
    return _with_content({"message-storage-policy": policy, "push-type": "LiveActivity"})


def _delete(case: Case) -> Answer:
    case.shared.channels.delete(case.bundle_id, case.request.header("apns-channel-id"))
    return Answer(status=204)


def _list(case: Case) -> Answer:
    return _with_content({"channels": list(case.shared.channels.of(case.bundle_id))})


def _with_content(content: dict[str, Any]) -> Answer:
    return Answer(status=200, content=json.dumps(content, separators=(",", ":")).encode())


_NAMED: Final = (_channel_id, _channel_registered)
_BROADCAST_CHECKS: Final[tuple[Check, ...]] = (
    *_NAMED,
    _push_type,
    _priority,
    _expiration,
    payload_present,
    _payload_size,
)
_BROADCAST: Final = Endpoint(checks=_BROADCAST_CHECKS, act=lambda _case: ACCEPTED)
_CHANNELS: Final[Mapping[str, Endpoint]] = {
    "POST": Endpoint(checks=(payload_present, _channel_body), act=_create),
    "GET": Endpoint(checks=_NAMED, act=_read),
    "DELETE": Endpoint(checks=_NAMED, act=_delete),
}
ROUTES: Final = (
    Route(path=re.compile(r"/4/broadcasts/apps/([^/?]+)"), endpoints={"POST": _BROADCAST}),
    Route(path=re.compile(r"/1/apps/([^/?]+)/channels"), endpoints=_CHANNELS),
    Route(path=re.compile(r"/1/apps/([^/?]+)/all-channels"), endpoints={"GET": Endpoint(checks=(), act=_list)}),
)
