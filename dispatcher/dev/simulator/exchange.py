"""The story of one request: judge it, store it, count it, log it, answer it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from dispatcher.dev.simulator.answers import Answer, Headers, response_headers
from dispatcher.dev.simulator.case import Case, Credentials, Shared, make_case
from dispatcher.dev.simulator.checks import is_apns_id, judge
from dispatcher.dev.simulator.payload_warnings import payload_warnings
from dispatcher.dev.simulator.request import Request
from dispatcher.dev.simulator.request_log import LoggedRequest, RequestLog
from dispatcher.dev.simulator.stats import Stats
from dispatcher.dev.simulator.storage import Storage, StoredNotification, expiry
from dispatcher.dev.simulator.switches import Switches
from dispatcher.push_types import Environment

Clock = Callable[[], float]

_FINGERPRINT_HEX_DIGITS: Final = 16


@lru_cache(maxsize=4096)
def fingerprint(provider_token: str) -> str:
    """Return what stands for a provider token in logs and counts; empty for none."""
    return sha256(provider_token.encode()).hexdigest()[:_FINGERPRINT_HEX_DIGITS] if provider_token else ""


@dataclass(frozen=True, slots=True, kw_only=True)
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
    stats: Stats
    log: RequestLog
    switches: Switches
    clock: Clock

    def reply(self, request: Request, credentials: Credentials, *, connection: int) -> Reply:
        """Return the reply to a request; whatever else it causes has happened then."""
        case = make_case(request, credentials, self.shared, self.clock())
        answer = judge(case)
        apns_id = _apns_id(request)
        if answer.is_accepted:
            self._store(case, apns_id)
        self._count(case, answer, connection)
        if self.log.is_kept:
            self.log.add(self._logged(case, answer, apns_id, connection))
        headers = response_headers(answer, apns_id=apns_id, unique_id=self._unique_id())
        return Reply(answer=answer, headers=headers, body=answer.body)

    def _store(self, case: Case, apns_id: str) -> None:
        expires_at = expiry(case.request.header("apns-expiration"), case.now)
        if expires_at is not None:
            notification = StoredNotification(
                apns_id=apns_id,
                payload=case.request.payload,
                collapse_id=case.request.header("apns-collapse-id"),
                expires_at=expires_at,
            )
            self.storage.put(case.device_token or "", case.request.header("apns-topic"), notification)

    def _count(self, case: Case, answer: Answer, connection: int) -> None:
        self.stats.count(
            answer,
            connection=connection,
            key_id=self.shared.reader.key_id(case.provider_token),
            fingerprint=fingerprint(case.provider_token),
        )

    def _logged(self, case: Case, answer: Answer, apns_id: str, connection: int) -> LoggedRequest:
        request, claims = case.request, case.claims
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
            answered=self.switches.is_answering and not answer.is_silent,
            warnings=payload_warnings(request) if answer.is_accepted else [],
        )

    def _unique_id(self) -> str | None:
        # Apple's sandbox names each push for the delivery log of its console; production does not.
        return str(uuid.uuid4()) if self.shared.settings.environment is Environment.SANDBOX else None


def _apns_id(request: Request) -> str:
    apns_id = request.header("apns-id")
    # Apple answers with its own id in upper case, and with the caller's in the caller's case: clients match on it.
    return apns_id if is_apns_id(apns_id) else str(uuid.uuid4()).upper()


def _text(request: Request, name: str) -> str | None:
    value = request.headers.get(name)
    return None if value is None else value.encode("latin-1").decode("utf-8", "replace")
