"""The table of checks, in Apple's order: the first that refuses gives the answer.

Source: "Handling notification responses from APNs" for the reasons. The order is not documented; it is pieced
together from measurements, so it stands in one place and a later finding is a change of one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from dispatcher.dev.simulator.answers import ACCEPTED, Answer
from dispatcher.dev.simulator.authentication import TOKEN_CHECKS
from dispatcher.dev.simulator.case import Case
from dispatcher.dev.simulator.device_tokens import FORMS, Form, Stage, is_well_formed, rule_of, times_of
from dispatcher.push_types import MAX_PAYLOAD_BYTES, PUSH_TYPES

Check = Callable[[Case], Answer | None]

MAX_COLLAPSE_ID_BYTES: Final = 64
PRIORITIES: Final = frozenset({"10", "5", "1"})
DEFAULT_PRIORITY: Final = "10"
#: Where Apple's text names fewer priorities than the header allows. Whether Apple refuses the others is not known.
STRICT_PRIORITIES: Final[Mapping[str, frozenset[str]]] = {
    "background": frozenset({"5"}),
    "liveactivity": frozenset({"10", "5"}),
}

_APNS_ID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9.-]+")
_EXPIRATION: Final = re.compile(r"[0-9]{1,20}")


def _refuse(status: int, reason: str) -> Answer:
    return Answer(status=status, reason=reason)


METHOD_NOT_ALLOWED: Final = _refuse(405, "MethodNotAllowed")
BAD_PATH: Final = _refuse(404, "BadPath")
DUPLICATE_HEADERS: Final = _refuse(400, "DuplicateHeaders")
BAD_MESSAGE_ID: Final = _refuse(400, "BadMessageId")
MISSING_DEVICE_TOKEN: Final = _refuse(400, "MissingDeviceToken")
MISSING_TOPIC: Final = _refuse(400, "MissingTopic")
BAD_TOPIC: Final = _refuse(400, "BadTopic")
TOPIC_DISALLOWED: Final = _refuse(400, "TopicDisallowed")
INVALID_PUSH_TYPE: Final = _refuse(400, "InvalidPushType")
BAD_PRIORITY: Final = _refuse(400, "BadPriority")
BAD_EXPIRATION_DATE: Final = _refuse(400, "BadExpirationDate")
BAD_COLLAPSE_ID: Final = _refuse(400, "BadCollapseId")
PAYLOAD_EMPTY: Final = _refuse(400, "PayloadEmpty")
PAYLOAD_TOO_LARGE: Final = _refuse(413, "PayloadTooLarge")
BAD_DEVICE_TOKEN: Final = _refuse(400, "BadDeviceToken")
NOT_FOR_TOPIC: Final = FORMS[Form.NOT_FOR_TOPIC].answer
TOO_MANY_REQUESTS: Final = _refuse(429, "TooManyRequests")
INTERNAL_SERVER_ERROR: Final = _refuse(500, "InternalServerError")


def judge(case: Case) -> Answer:
    """Return the answer to a push."""
    for check in CHECKS if case.credentials.certificate is None else CERTIFICATE_CHECKS:
        answer = check(case)
        if answer is not None:
            return answer
    return ACCEPTED


def is_apns_id(text: str) -> bool:
    """Tell whether a header value can be an apns id."""
    return _APNS_ID.fullmatch(text) is not None


def _method(case: Case) -> Answer | None:
    return None if case.request.method == "POST" else METHOD_NOT_ALLOWED


def _route(case: Case) -> Answer | None:
    return None if case.device_token is not None else BAD_PATH


def duplicate_headers(case: Case) -> Answer | None:
    """Refuse a header that came twice."""
    return DUPLICATE_HEADERS if case.request.has_duplicates else None


def apns_id_is_well_formed(case: Case) -> Answer | None:
    """Refuse an apns id that is no UUID."""
    apns_id = case.request.headers.get("apns-id")
    return None if apns_id is None or is_apns_id(apns_id) else BAD_MESSAGE_ID


def _device_token_present(case: Case) -> Answer | None:
    return None if case.device_token else MISSING_DEVICE_TOKEN


def _topic_present(case: Case) -> Answer | None:
    return None if case.topic else MISSING_TOPIC


def _topic_well_formed(case: Case) -> Answer | None:
    return None if _TOPIC.fullmatch(case.topic) else BAD_TOPIC


def _topic_allowed(case: Case) -> Answer | None:
    certificate = case.credentials.certificate
    if certificate is not None:
        return None if case.topic in certificate.topics else TOPIC_DISALLOWED
    topic = case.shared.world.topics.get(case.topic)
    if topic is None or case.claims is None or topic.app.since > case.credentials.world_age:
        return TOPIC_DISALLOWED
    return None if case.claims.signing_key.may_push_to(topic.app) else TOPIC_DISALLOWED


def _push_type(case: Case) -> Answer | None:
    push_type = case.request.headers.get("apns-push-type")
    return None if push_type is None or push_type in PUSH_TYPES else INVALID_PUSH_TYPE


def _priority(case: Case) -> Answer | None:
    priority = case.request.headers.get("apns-priority", DEFAULT_PRIORITY)
    allowed = PRIORITIES
    if case.shared.settings.is_strict_on_priority:
        allowed = STRICT_PRIORITIES.get(case.request.header("apns-push-type"), PRIORITIES)
    return None if priority in allowed else BAD_PRIORITY


def expiration(case: Case) -> Answer | None:
    """Refuse an apns-expiration that is not Unix seconds."""
    value = case.request.headers.get("apns-expiration")
    if value is None:
        return None
    highest = case.shared.settings.max_expiration
    is_fine = _EXPIRATION.fullmatch(value) and (highest is None or int(value) <= highest)
    return None if is_fine else BAD_EXPIRATION_DATE


def _collapse_id(case: Case) -> Answer | None:
    return BAD_COLLAPSE_ID if len(case.request.header("apns-collapse-id")) > MAX_COLLAPSE_ID_BYTES else None


def payload_present(case: Case) -> Answer | None:
    """Refuse a request without body."""
    return None if case.request.payload else PAYLOAD_EMPTY


def _payload_size(case: Case) -> Answer | None:
    push_type = PUSH_TYPES.get(case.request.header("apns-push-type"))
    max_bytes = MAX_PAYLOAD_BYTES if push_type is None else push_type.max_payload_bytes
    return PAYLOAD_TOO_LARGE if len(case.request.payload) > max_bytes else None


def _device_token_known(case: Case) -> Answer | None:
    if not is_well_formed(case.device_token or ""):
        return BAD_DEVICE_TOKEN
    settings = case.shared.settings
    if case.registration is None:
        return _form_answer(case, Stage.KNOWN) if settings.knows_every_device_token else BAD_DEVICE_TOKEN
    is_at_home = settings.environment is None or case.registration.environment in {None, settings.environment}
    return None if is_at_home else BAD_DEVICE_TOKEN


def _device_token_fits_topic(case: Case) -> Answer | None:
    if case.registration is None:
        return _form_answer(case, Stage.FITS_TOPIC)
    return None if case.registration.topic in {None, case.topic} else NOT_FOR_TOPIC


def _device_token_alive(case: Case) -> Answer | None:
    if case.registration is None:
        return _form_answer(case, Stage.ALIVE)
    died_at = case.registration.died_at
    if died_at is None or case.now < died_at:
        return None
    return Answer(status=410, reason=case.registration.reason, timestamp=int(died_at * 1000))


def _push_type_fits_topic(case: Case) -> Answer | None:
    push_type = PUSH_TYPES.get(case.request.header("apns-push-type"))
    topic = case.shared.world.topics.get(case.topic)
    has_clash = push_type is not None and topic is not None and push_type.topic_suffix != topic.suffix
    return INVALID_PUSH_TYPE if has_clash else None


def _device_rate(case: Case) -> Answer | None:
    return TOO_MANY_REQUESTS if case.shared.devices.exceeds_burst(case.device_token or "", case.now) else None


def _idle_before(case: Case) -> Answer | None:
    """Refuse everything on a connection that was idle for too long.

    Source: jchambers/pushy issue 408.
    """
    return INTERNAL_SERVER_ERROR if case.credentials.is_stale else None


def _fault(case: Case) -> Answer | None:
    return _form_answer(case, Stage.FAULT)


def _form_answer(case: Case, stage: Stage) -> Answer | None:
    device_token = case.device_token or ""
    rule = rule_of(device_token, stage)
    if rule is None:
        return None
    is_due = not rule.is_counted or case.shared.devices.is_due_for_fault(device_token, times_of(device_token))
    return rule.answer if is_due else None


CHECKS: Final[tuple[Check, ...]] = (
    _method,
    _route,
    duplicate_headers,
    *TOKEN_CHECKS,
    apns_id_is_well_formed,
    _device_token_present,
    _topic_present,
    _topic_well_formed,
    _topic_allowed,
    _push_type,
    _priority,
    expiration,
    _collapse_id,
    payload_present,
    _payload_size,
    _device_token_known,
    _device_token_fits_topic,
    _device_token_alive,
    _push_type_fits_topic,
    _device_rate,
    _idle_before,
    _fault,
)
#: With a client certificate there is no provider token to judge.
CERTIFICATE_CHECKS: Final = tuple(check for check in CHECKS if check not in TOKEN_CHECKS)
