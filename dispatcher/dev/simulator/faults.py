"""Everything that can go wrong between a sender and Apple, as values: what happens to a request or to a connection.

`FAULTS` names the common ones, for the command line and for scripts.

Source: RFC 9113 sections 5.4 (errors), 6.5.2 (settings), 6.8 (GOAWAY); reports of each in jchambers/pushy issues 312,
476 and 878, swift-server-community/APNSwift pull request 101, DocNR/clave pull request 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from h2.errors import ErrorCodes

from dispatcher.dev.simulator.answers import Answer
from dispatcher.dev.simulator.hpack_forms import HpackForm

SHUTDOWN: Final = b'{"reason":"Shutdown"}'


class ApnsIdForm(StrEnum):
    """What becomes of the header apns-id in an answer."""

    AS_SENT = "as_sent"
    MISSING = "missing"
    UPPER_CASE = "upper_case"
    ANOTHER = "another"


class HangUp(StrEnum):
    """When a connection is cut without goodbye: before the answer, in the middle of it, or behind it."""

    BEFORE = "before"
    HALFWAY = "halfway"
    AFTER = "after"


class Door(StrEnum):
    """What meets a client that connects, instead of TLS: a reset, or nothing at all."""

    RESET = "reset"
    SILENT = "silent"


class TlsFault(StrEnum):
    """What is wrong with the server's side of TLS."""

    UNTRUSTED = "untrusted"
    WRONG_HOST = "wrong_host"
    EXPIRED = "expired"
    NO_ALPN = "no_alpn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goaway:
    """A GOAWAY sent when a request has come.

    Attributes:
        last_stream_id: The last stream that is answered; None for one reckoned from the request's.
        streams_left_out: How many of the newest streams it excludes, that of the request first.
        debug: Apple's JSON, or nothing, as often.
        closes: End the connection once the others are answered; otherwise it stays open and ignores new streams.
        is_two_step: First one that lets all streams through, a moment later the final one.
    """

    last_stream_id: int | None = None
    streams_left_out: int = 0
    error_code: int = ErrorCodes.NO_ERROR
    debug: bytes = SHUTDOWN
    closes: bool = True
    is_two_step: bool = False

    def last_of(self, stream_id: int) -> int:
        """Return the last stream that is answered when the request came on this one."""
        return max(0, stream_id - 2 * self.streams_left_out) if self.last_stream_id is None else self.last_stream_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request, and perhaps with its connection from then on; by default nothing.

    Attributes:
        answer: Given instead of a 200; a request that Apple refuses is refused as ever.
        retry_after_s: Sent as Retry-After.
        delay_s: How much later than others the answer comes.
        is_silent: Judged, but never answered.
        reset: Error code of an RST_STREAM sent instead of the answer.
        body: Of the answer, instead of Apple's.
        pieces: DATA frames that the body is cut into.
        ends_separately: An empty DATA frame ends the stream.
        apns_id: What becomes of the header.
        goaway: Sent behind this request.
        hang_up: Cut the connection.
        max_streams: Concurrent streams of the connection from now on, whatever comes.
        withholds_window: Give the connection no more credit for payloads.
        read_pause_s: Read nothing from the connection for so long.
        is_processed: Whether Apple judges and delivers the push, though the answer may be lost.
    """

    answer: Answer | None = None
    retry_after_s: int | None = None
    delay_s: float = 0.0
    is_silent: bool = False
    reset: int | None = None
    body: bytes | None = None
    pieces: int = 1
    ends_separately: bool = False
    apns_id: ApnsIdForm = ApnsIdForm.AS_SENT
    goaway: Goaway | None = None
    hang_up: HangUp | None = None
    max_streams: int | None = None
    withholds_window: bool = False
    read_pause_s: float = 0.0
    is_processed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFault:
    """What is wrong with a connection from its start; by default nothing.

    Attributes:
        door: What meets the client instead of TLS.
        tls: What is wrong with TLS.
        max_streams: Concurrent streams, for ever; None for Apple's.
        window_bytes: INITIAL_WINDOW_SIZE announced; 0 lets no payload through. None for Apple's.
        header_table_bytes: HEADER_TABLE_SIZE announced; None for Apple's.
        hpack: How answers are compressed.
        withholds_window: Give no credit for payloads.
        read_pause_s: After each read, read nothing for so long.
        goaway: Sent with the first SETTINGS: streams above its last are never answered.
    """

    door: Door | None = None
    tls: TlsFault | None = None
    max_streams: int | None = None
    window_bytes: int | None = None
    header_table_bytes: int | None = None
    hpack: HpackForm = HpackForm.INDEXED
    withholds_window: bool = False
    read_pause_s: float = 0.0
    goaway: Goaway | None = None


NO_FAULT: Final = Fault()


def _refusal(status: int, reason: str) -> Answer:
    return Answer(status=status, reason=reason)


_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
_UNAVAILABLE: Final = _refusal(503, "ServiceUnavailable")
_BAD_GATEWAY: Final = _refusal(502, "")

FAULTS: Final[Mapping[str, Fault | ConnectFault]] = {
    # the answer
    "internal_server_error": Fault(answer=_refusal(500, "InternalServerError")),
    "service_unavailable": Fault(answer=_UNAVAILABLE),
    "service_unavailable_retry_after": Fault(answer=_UNAVAILABLE, retry_after_s=1),
    "too_many_requests": Fault(answer=_refusal(429, "TooManyRequests")),
    "shutdown": Fault(answer=_refusal(503, "Shutdown"), goaway=Goaway()),
    "unknown_reason": Fault(answer=_refusal(400, "NeverHeardOf")),
    "html": Fault(answer=_BAD_GATEWAY, body=_HTML),
    "empty_body": Fault(answer=_UNAVAILABLE, body=b""),
    "broken_body": Fault(answer=_UNAVAILABLE, body=b'{"reason":"Serv'),
    "split_body": Fault(answer=_UNAVAILABLE, pieces=7, ends_separately=True),
    "separate_end": Fault(ends_separately=True),
    "late": Fault(delay_s=1.0),
    "silence": Fault(is_silent=True),
    "missing_apns_id": Fault(apns_id=ApnsIdForm.MISSING),
    "upper_case_apns_id": Fault(apns_id=ApnsIdForm.UPPER_CASE),
    "another_apns_id": Fault(apns_id=ApnsIdForm.ANOTHER),
    # the stream
    "refused_stream": Fault(reset=ErrorCodes.REFUSED_STREAM, is_processed=False),
    "reset": Fault(reset=ErrorCodes.INTERNAL_ERROR),
    "cancel": Fault(reset=ErrorCodes.CANCEL),
    "stream_closed": Fault(reset=ErrorCodes.STREAM_CLOSED),
    # the connection
    "goaway": Fault(goaway=Goaway()),
    "goaway_left_out": Fault(goaway=Goaway(streams_left_out=1), is_processed=False),
    "goaway_zero": Fault(goaway=Goaway(last_stream_id=0, debug=b""), is_processed=False),
    "goaway_two_step": Fault(goaway=Goaway(is_two_step=True)),
    "goaway_stays_open": Fault(goaway=Goaway(closes=False)),
    "goaway_error": Fault(goaway=Goaway(error_code=ErrorCodes.ENHANCE_YOUR_CALM, debug=b"")),
    "hang_up_before": Fault(hang_up=HangUp.BEFORE),
    "hang_up_unprocessed": Fault(hang_up=HangUp.BEFORE, is_processed=False),
    "hang_up_halfway": Fault(hang_up=HangUp.HALFWAY),
    "hang_up_after": Fault(hang_up=HangUp.AFTER),
    "one_stream": Fault(max_streams=1),
    "no_credit": Fault(withholds_window=True),
    "slow_reader": Fault(read_pause_s=0.5),
    # connecting
    "connection_reset": ConnectFault(door=Door.RESET),
    "connection_silent": ConnectFault(door=Door.SILENT),
    "tls_untrusted": ConnectFault(tls=TlsFault.UNTRUSTED),
    "tls_wrong_host": ConnectFault(tls=TlsFault.WRONG_HOST),
    "tls_expired": ConnectFault(tls=TlsFault.EXPIRED),
    "tls_no_alpn": ConnectFault(tls=TlsFault.NO_ALPN),
    "always_one_stream": ConnectFault(max_streams=1),
    "zero_window": ConnectFault(window_bytes=0),
    "no_header_table": ConnectFault(header_table_bytes=0),
    "always_slow_reader": ConnectFault(read_pause_s=0.05),
    "goaway_at_once": ConnectFault(goaway=Goaway(last_stream_id=0)),
    "hpack_literal": ConnectFault(hpack=HpackForm.LITERAL),
    "hpack_huffman": ConnectFault(hpack=HpackForm.HUFFMAN),
    "hpack_never_indexed": ConnectFault(hpack=HpackForm.NEVER_INDEXED),
    "hpack_name_indexed": ConnectFault(hpack=HpackForm.NAME_INDEXED),
    "hpack_table_size_zero": ConnectFault(hpack=HpackForm.TABLE_SIZE_ZERO),
}
