"""How accepted notifications lie in the state server: one header line of JSON, then the sealed payload.

Scripts read the header; what may be read by nobody is sealed in it (see sealing.py). A worker never parses a payload;
it sends the bytes that were validated. JSON written by `json.dumps` holds no line feed, so the first one ends the
header.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.errors import MessageError
from dispatcher.notification import Report
from dispatcher.push_types import PUSH_TYPES, Environment
from dispatcher.sealing import Place, Sealing

VERSION: Final = 2
#: 500 of Apple's longest conceivable device tokens and a payload of any push type take less.
MAX_STORED_BYTES: Final = 512 * 1024

_GREATEST_VERSION: Final = 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """1 to 500 accepted notifications of one app, environment, push type and payload.

    Attributes:
        app: Bundle id.
        environment: Apple's environment.
        push_type: Value of apns-push-type.
        device_tokens: Lower-case hex, in the order of their apns ids.
        payload: The exact bytes to send.
        priority: Value of apns-priority.
        expiration: Value of apns-expiration, None to leave the header out.
        expires_in: Seconds from acceptance, or from `send_at`, during which we try; None for no limit.
        send_at: Not before, Unix seconds; None for at once.
        collapse_id: Value of apns-collapse-id, None to leave the header out.
        version: The app's own count of its news; None for the order of arrival.
        report: Which ends to report.
        track: Keep how each ended.
    """

    app: str
    environment: Environment
    push_type: str
    device_tokens: tuple[str, ...]
    payload: bytes
    priority: int
    expiration: int | None = None
    expires_in: float | None = None
    send_at: float | None = None
    collapse_id: str | None = None
    version: int | None = None
    report: Report = Report.FAILURES
    track: bool = False

    def expires_at(self, accepted_at: float) -> float | None:
        """Return when it must not be sent any more, in Unix seconds; None for never."""
        ends = [float(self.expiration)] if self.expiration else []
        if self.expires_in is not None:
            ends.append(max(accepted_at, self.send_at or 0.0) + self.expires_in)
        return min(ends, default=None)


def encode(record: Record, place: Place, sealing: Sealing) -> bytes:
    """Return a record's stored form, which can be read in this place only."""
    seal = sealing.writer
    header = _header(record, seal.key_id, seal.close_device_tokens(record.device_tokens, place.apns_id))
    return header + b"\n" + seal.close_payload(record.payload, header, place)


def content(record: Record) -> bytes:
    """Return what tells a record from any other, the same each time; not fit to be stored."""
    return _header(record, None, record.device_tokens) + b"\n" + record.payload


def decode(stored: bytes, place: Place, sealing: Sealing) -> Record:
    """Return the record of its stored form.

    Raises:
        MessageError: The bytes are no record, of a version this release does not know, or not what was stored in this
            place by somebody whose seal we accept. Never shows any of them.
    """
    if len(stored) > MAX_STORED_BYTES:
        raise MessageError(f"record of {len(stored)} bytes, longer than any of ours")
    try:
        return _opened(stored, place, sealing)
    except MessageError as exc:
        raise MessageError(f"record refused: {exc}") from exc
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MessageError(f"record cannot be read: {type(exc).__name__}") from exc


def _opened(stored: bytes, place: Place, sealing: Sealing) -> Record:
    header_line, separator, closed = stored.partition(b"\n")
    header = json.loads(header_line)
    if not separator or header["v"] != VERSION:
        raise MessageError(f"it is of {_shown_version(header['v'])}, this release reads version {VERSION}")
    seal = sealing.reader(header["key"])
    payload = seal.open_payload(closed, header_line, place)
    return _record(header, seal.open_device_tokens(header["device_tokens"], place.apns_id), payload)


def _header(record: Record, key_id: str | None, device_tokens: Sequence[str]) -> bytes:
    header = {
        "v": VERSION,
        # summaries.lua finds these two, side by side, at the start of a record
        "app": record.app,
        "count": len(record.device_tokens),
        "environment": record.environment,
        "push_type": record.push_type,
        # for ends.lua, which has no table of push types
        "lane": PUSH_TYPES[record.push_type].lane,
        "priority": record.priority,
        "expiration": record.expiration,
        "expires_in": record.expires_in,
        "send_at": record.send_at,
        "collapse_id": record.collapse_id,
        "version": record.version,
        # slots.lua looks for these two as they are spelled here
        "report": record.report,
        "track": record.track,
        "key": key_id,
        # scripts copy these without opening them
        "device_tokens": device_tokens,
    }
    return json.dumps(header, separators=(",", ":")).encode()


def _record(header: dict[str, Any], device_tokens: Sequence[str], payload: bytes) -> Record:
    if header["push_type"] not in PUSH_TYPES:
        raise MessageError("it is of a push type this release does not know")
    if header["count"] != len(device_tokens) or not device_tokens:
        raise MessageError("it holds another number of device tokens than it says")
    return Record(
        app=header["app"],
        environment=Environment(header["environment"]),
        push_type=header["push_type"],
        device_tokens=tuple(device_tokens),
        payload=payload,
        priority=header["priority"],
        expiration=header["expiration"],
        expires_in=header["expires_in"],
        send_at=header["send_at"],
        collapse_id=header["collapse_id"],
        version=header["version"],
        report=Report(header["report"]),
        track=header["track"],
    )


def _shown_version(version: object) -> str:
    """Return a version for an error; what is no small number may be anything."""
    is_version = isinstance(version, int) and 0 <= version <= _GREATEST_VERSION
    return f"version {version:d}" if is_version else "an unknown version"
