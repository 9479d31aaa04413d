"""The story of one request: judge it, deliver it, count it, log it, answer it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from dispatcher.dev.simulator import broadcasts
from dispatcher.dev.simulator.answers import Answer, Headers, response_headers
from dispatcher.dev.simulator.case import Case, Credentials, Shared, make_case
from dispatcher.dev.simulator.checks import METHOD_NOT_ALLOWED, is_apns_id, judge
from dispatcher.dev.simulator.faults import NO_FAULT, ApnsIdForm, Fault
from dispatcher.dev.simulator.payload_warnings import payload_warnings
from dispatcher.dev.simulator.phones import Phones
from dispatcher.dev.simulator.request import Request
from dispatcher.dev.simulator.request_log import LoggedRequest, RequestLog
from dispatcher.dev.simulator.stats import Stats
from dispatcher.dev.simulator.storage import AcceptedPush, Storage, expiry
from dispatcher.dev.simulator.switches import Switches
from dispatcher.push_types import Environment

Clock = Callable[[], float]

_FINGERPRINT_HEX_DIGITS: Final = 16


@lru_cache(maxsize=4096)
def fingerprint(provider_token: str) -> str:
    """Return what stands for a provider token in logs and counts; empty for none."""
    return sha256(provider_token.encode()).hexdigest()[:_FINGERPRINT_HEX_DIGITS] if provider_token else ""


@dataclass(slots=True, kw_only=True)
class Reply:
    """What goes back over the wire, unless it is silent."""

    answer: Answer
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The one way from a request to its reply, the same for all connections of a simulator."""

    shared: Shared
    storage: Storage
    phones: Phones
    stats: Stats
    log: RequestLog
    switches: Switches
    clock: Clock

    def reply(self, request: Request, credentials: Credentials, *, connection: int, fault: Fault = NO_FAULT) -> Reply:
        """Return the reply to a request; whatever else it causes has happened then.

        Args:
            fault: What of it is about the answer is done here, the rest is left to the connection.
        """
        now = self.clock()
        credentials.note_request(now, self.shared.settings.error_after_idle_s)
        is_push = request.device_token is not None
        route = None if is_push else broadcasts.find_route(request.header(":path"))
        case = make_case(request, credentials, self.shared, now, bundle_id=route[1] if route else "")
        answer = _judge(case, route[0]) if route else judge(case)
        if answer.is_accepted and fault.answer is not None:
            answer = fault.answer
        apns_id = _apns_id(request)
        if answer.is_accepted:
            self._deliver(case, apns_id)
        self._count(case, answer, connection)
        if self.log.is_kept:
            self.log.add(self._logged(case, answer, apns_id, connection, fault))
        headers = self._channel_headers(request, answer) if route else self._headers(answer, apns_id, fault)
        return Reply(answer=answer, headers=headers, body=answer.body if fault.body is None else fault.body)

    def _headers(self, answer: Answer, apns_id: str, fault: Fault) -> Headers:
        headers = response_headers(answer, apns_id=apns_id, unique_id=self._unique_id())
        if fault is NO_FAULT:
            return headers
        if fault.retry_after_s is not None:
            headers = (*headers, ("retry-after", str(fault.retry_after_s)))
        return _FORMS[fault.apns_id](headers)

    def _channel_headers(self, request: Request, answer: Answer) -> Headers:
        request_id = request.header("apns-request-id")
        made = request_id if is_apns_id(request_id) else str(uuid.uuid4())
        headers: Headers = ((":status", str(answer.status)), ("apns-request-id", made), *answer.fields)
        is_broadcast = request.method == "POST" and not answer.fields and answer.is_accepted
        return (*headers, ("apns-unique-id", str(uuid.uuid4()))) if is_broadcast else headers

    def _deliver(self, case: Case, apns_id: str) -> None:
        if case.device_token is not None:
            phone = self.phones.get(case.device_token)
            push = _accepted(case, apns_id)
            if phone is not None and phone.is_online:
                phone.take(push)
            else:
                self.storage.put(case.device_token, case.topic, push)
        elif case.request.header("apns-channel-id") and case.request.payload:
            # Only who listens now gets it: what a channel stores for the others is Apple's and not modelled.
            for phone in self.phones.listening_to(case.request.header("apns-channel-id")):
                phone.take(_accepted(case, apns_id))

    def _count(self, case: Case, answer: Answer, connection: int) -> None:
        self.stats.count(
            answer,
            connection=connection,
            key_id=self.shared.reader.key_id(case.provider_token),
            fingerprint=fingerprint(case.provider_token),
        )

    def _logged(self, case: Case, answer: Answer, apns_id: str, connection: int, fault: Fault) -> LoggedRequest:
        request, claims = case.request, case.claims
        is_answered = not fault.is_silent and fault.reset is None and fault.hang_up is None
        return LoggedRequest(
            at=time.time(),
            clock=case.now,
            apns_id=apns_id,
            device_token=case.device_token,
            topic=_text(request, "apns-topic"),
            push_type=_text(request, "apns-push-type"),
            priority=_text(request, "apns-priority"),
            expiration=_text(request, "apns-expiration"),
            collapse_id=_text(request, "apns-collapse-id"),
            payload=request.payload.decode("utf-8", "replace"),
            payload_bytes=len(request.payload),
            status=answer.status,
            reason=answer.reason,
            connection=connection,
            provider_token=fingerprint(case.provider_token),
            issued_at=claims.issued_at if claims else None,
            key_id=claims.signing_key.key_id if claims else None,
            team_id=claims.signing_key.team_id if claims else None,
            answered=is_answered and self.switches.is_answering and not answer.is_silent,
            warnings=payload_warnings(request) if answer.is_accepted else [],
        )

    def _unique_id(self) -> str | None:
        # Apple's sandbox names each push for the delivery log of its console; production does not.
        return str(uuid.uuid4()) if self.shared.settings.environment is Environment.SANDBOX else None


def _judge(case: Case, route: broadcasts.Route) -> Answer:
    endpoint = route.endpoints.get(case.request.method)
    return METHOD_NOT_ALLOWED if endpoint is None else broadcasts.judge(case, endpoint)


def _accepted(case: Case, apns_id: str) -> AcceptedPush:
    request = case.request
    return AcceptedPush(
        apns_id=apns_id,
        payload=request.payload,
        collapse_id=request.header("apns-collapse-id"),
        expires_at=expiry(request.header("apns-expiration"), case.now),
        topic=case.topic or case.bundle_id,
        push_type=request.header("apns-push-type").lower(),
        channel_id=request.header("apns-channel-id"),
    )


def _apns_id(request: Request) -> str:
    apns_id = request.header("apns-id")
    # Apple answers with its own id in upper case, and with the caller's in the caller's case: clients match on it.
    return apns_id if is_apns_id(apns_id) else str(uuid.uuid4()).upper()


def _with_apns_id(headers: Headers, change: Callable[[str], str]) -> Headers:
    return tuple((name, change(value) if name == "apns-id" else value) for name, value in headers)


_FORMS: Final[dict[ApnsIdForm, Callable[[Headers], Headers]]] = {
    ApnsIdForm.AS_SENT: lambda headers: headers,
    ApnsIdForm.MISSING: lambda headers: tuple(each for each in headers if each[0] != "apns-id"),
    ApnsIdForm.UPPER_CASE: lambda headers: _with_apns_id(headers, str.upper),
    ApnsIdForm.ANOTHER: lambda headers: _with_apns_id(headers, lambda _: str(uuid.uuid4())),
}


def _text(request: Request, name: str) -> str | None:
    value = request.headers.get(name)
    return None if value is None else value.encode("latin-1").decode("utf-8", "replace")
