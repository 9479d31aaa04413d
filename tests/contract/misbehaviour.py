"""What a server can do to a sender, case by case, and what becomes of eight pushes: the table behind RESULTS.md.

A case is one row. A first push is always accepted; then eight are sent at once, each with an apns-id of its own, and
connection 0 misbehaves. Later connections accept, unless the row says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from dispatcher.errors import TransportError
from tests.contract import behaviours as do
from tests.contract.behaviours import IMPATIENT_S, PUSHES
from tests.contract.scripted_server import Script, accept, keep_silent
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.port import ApnsAnswer

if TYPE_CHECKING:
    from tests.contract.conftest import Stage

#: The deadline of pushes that are answered or end by themselves; long, so that a busy machine changes nothing.
PATIENT_S: Final = 5.0

#: How much later than its deadline the last push may end.
GRACE_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the pushes.

    Attributes:
        answered: They got an answer.
        maybe_sent: They ended as maybe sent.
        not_sent: They ended as certainly not sent.
        seen: Whole requests the server has seen and not disclaimed.
        duplicated: Of those, how many repeat one.
    """

    answered: int = 0
    maybe_sent: int = 0
    not_sent: int = 0
    seen: int = PUSHES
    duplicated: int = 0


ALL_ANSWERED: Final = Tally(answered=PUSHES)
ALL_MAYBE: Final = Tally(maybe_sent=PUSHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One misbehaviour.

    Attributes:
        name: In words.
        make_script: Makes the server's part, fresh for each run.
        expected: What must become of the pushes.
        beyond: Implementations that cannot pass, and why.
        deadline_s: How long each push waits.
        payload: What each push carries.
    """

    name: str
    make_script: Callable[[], Script]
    expected: Tally = ALL_ANSWERED
    beyond: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float = PATIENT_S
    payload: bytes = b'{"aps":{"alert":"hi"}}'


_READ_LOST: Final = {"aioapns": "h2 hands over nothing of a read that ends in a protocol error"}

CASES: Final = (
    Case(name="accepts everything", make_script=do.each(accept)),
    Case(name="answers in reverse order", make_script=do.together(do.answer_backwards)),
    Case(name="refuses with a reason", make_script=do.each(do.answer(400, b'{"reason":"BadDeviceToken"}'))),
    Case(name="error without body", make_script=do.each(do.answer(400))),
    Case(name="body in pieces", make_script=do.each(do.answer(410, b'{"reason":', b'"Unregistered"}'))),
    Case(name="body is HTML", make_script=do.each(do.answer(502, b"<html>"))),
    Case(name="body padded", make_script=do.each(do.padded)),
    Case(name="body cut off by a reset", make_script=do.each(do.cut_body)),
    Case(name="headers longer than a frame", make_script=do.together(do.answer_at_length)),
    Case(name="interim response before the answer", make_script=do.each(do.interim)),
    Case(name="no apns-id in the answer", make_script=do.each(do.answer(200))),
    Case(
        name="apns-id in upper case",
        make_script=do.each(lambda to, seen: to.answer(seen.stream_id, 200, apns_id=seen.headers["apns-id"].upper())),
    ),
    Case(name="changes the header table's size at each answer", make_script=do.each(do.change_table)),
    Case(name="sends frames of unknown type", make_script=do.together(do.write_after_answers(do.UNKNOWN_FRAME))),
    Case(name="503 Shutdown", make_script=do.each(do.answer(503, b'{"reason":"Shutdown"}'))),
    Case(
        name="leaves one of eight unanswered",
        make_script=do.together(do.answer_all_but_one),
        deadline_s=IMPATIENT_S,
        expected=Tally(answered=PUSHES - 1, maybe_sent=1),
    ),
    Case(name="never answers", make_script=do.each(keep_silent), deadline_s=IMPATIENT_S, expected=ALL_MAYBE),
    Case(
        name="answers after the deadline",
        make_script=do.each(do.answer_late),
        deadline_s=IMPATIENT_S,
        expected=ALL_MAYBE,
    ),
    Case(
        name="takes requests and falls deaf",
        make_script=do.each(do.fall_deaf),
        deadline_s=IMPATIENT_S,
        expected=ALL_MAYBE,
    ),
    Case(name="RST_STREAM REFUSED_STREAM", make_script=do.each(do.reset(ErrorCodes.REFUSED_STREAM))),
    Case(
        name="RST_STREAM REFUSED_STREAM, on every connection",
        make_script=do.everywhere(do.reset(ErrorCodes.REFUSED_STREAM)),
        expected=Tally(not_sent=PUSHES, seen=0),
    ),
    Case(
        name="RST_STREAM INTERNAL_ERROR", make_script=do.each(do.reset(ErrorCodes.INTERNAL_ERROR)), expected=ALL_MAYBE
    ),
    Case(name="RST_STREAM NO_ERROR", make_script=do.each(do.reset(ErrorCodes.NO_ERROR)), expected=ALL_MAYBE),
    Case(name="GOAWAY in two steps, half served", make_script=do.together(do.leave_half)),
    Case(name="GOAWAY, none served, closes", make_script=do.together(do.leave_unserved)),
    Case(
        name="GOAWAY, all taken, none answered",
        make_script=do.together(do.leave_and_stay_silent),
        deadline_s=IMPATIENT_S,
        expected=ALL_MAYBE,
    ),
    Case(
        name="drops the connection",
        make_script=do.together(lambda connection, _: connection.abort()),
        expected=ALL_MAYBE,
    ),
    Case(
        name="closes the connection",
        make_script=do.together(lambda connection, _: connection.hang_up()),
        expected=ALL_MAYBE,
    ),
    Case(
        name="malformed frame",
        make_script=do.together(lambda connection, _: connection.write(do.MALFORMED)),
        expected=ALL_MAYBE,
    ),
    Case(
        name="malformed frame in the same read as the answers",
        make_script=do.together(do.write_after_answers(do.MALFORMED)),
        beyond=_READ_LOST,
    ),
    Case(
        name="bytes that are no HTTP/2 in the same read as the answers",
        make_script=do.together(do.write_after_answers(do.NOT_HTTP2)),
    ),
    Case(
        name="slows down to one stream, expired provider token, refuses the rest",
        make_script=do.together(do.slow_down),
    ),
    Case(
        name="ExpiredProviderToken to everything",
        make_script=do.each(do.expired),
    ),
    Case(
        name="one stream at a time",
        make_script=do.each(accept, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1}),
    ),
    Case(
        name="windows far smaller than a payload",
        make_script=do.each(accept, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000}),
        payload=b'{"aps":{"alert":"%s"}}' % (b"x" * 4000),
    ),
)


async def run(case: Case, stage: Stage) -> Tally:
    """Play a case through one implementation.

    Raises:
        TimeoutError: A push has not ended in time.
    """
    times = KeepaliveTimes(pong_s=0.2)
    async with (
        stage.server(case.make_script()) as server,
        stage.transport(server.url, times=times, max_connections=2) as transport,
    ):
        await transport.send(stage.push())
        server.requests.clear()
        pushes = [
            stage.push(
                apns_id=f"00000000-0000-4000-8000-{number:012x}", deadline_s=case.deadline_s, payload=case.payload
            )
            for number in range(PUSHES)
        ]
        async with asyncio.timeout(case.deadline_s + GRACE_S):
            ends = await asyncio.gather(*(transport.send(push) for push in pushes), return_exceptions=True)
        seen = [seen.headers["apns-id"] for seen in server.requests if seen.is_whole and not seen.is_disclaimed]
    silences = [end for end in ends if isinstance(end, TransportError)]
    return Tally(
        answered=sum(isinstance(end, ApnsAnswer) for end in ends),
        maybe_sent=sum(silence.maybe_sent for silence in silences),
        not_sent=sum(not silence.maybe_sent for silence in silences),
        seen=len(seen),
        duplicated=len(seen) - len(set(seen)),
    )
