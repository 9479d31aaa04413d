"""Random schedules between our connection and h2's server: requests, answers, settings, credit, resets, goodbyes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import pytest
from h2.settings import SettingCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.exchange import Exchange
from tests.wire.pushes import make_request
from workers.transport.wire.request import WireRequest

T = TypeVar("T")

IS_LONG: Final = os.environ.get("APNS_LONG") == "1"
EXCHANGES: Final = 100_000 if IS_LONG else 2_000

BODY_SIZES: Final = (1, 200, 4_096, 17_000, 70_000)
TEXT_SIZES: Final = (1, 30, 126, 127, 300)
LONG_TEXT: Final = 20_000
CUTS: Final = (1, 2, 9, 10, 50, 1_000, 100_000)
SETTINGS: Final = (
    *[(SettingCodes.MAX_CONCURRENT_STREAMS, value) for value in (0, 1, 3, 100)],
    *[(SettingCodes.INITIAL_WINDOW_SIZE, value) for value in (0, 1, 1_000, 65_535, 200_000)],
    *[(SettingCodes.MAX_FRAME_SIZE, value) for value in (16_384, 20_000, 2**20)],
    *[(SettingCodes.HEADER_TABLE_SIZE, value) for value in (0, 60, 300, 700, 4_096, 8_192)],
)


class Schedule:
    """Plays the steps that bytes stand for."""

    def __init__(self, choices: bytes) -> None:
        self._choices = iter(choices)
        self._requests = 0
        self.exchange = Exchange(ignores_table_size=self._choose(2) == 1)

    def play(self) -> None:
        """Take steps until the choices are used up."""
        while (step := next(self._choices, None)) is not None:
            STEPS[step % len(STEPS)](self)

    def request(self) -> None:
        """Send a request with other constants now and then, and any headers and payload."""
        self._requests += 1
        self.exchange.request(self._make_request())

    def _make_request(self) -> WireRequest:
        variant = self._choose(4)
        size = LONG_TEXT if self._choose(40) == 1 else self._pick(TEXT_SIZES)
        return make_request(
            self._requests,
            body=b"p" * self._pick(BODY_SIZES),
            authorization=b"bearer " + b"%d" % variant + b"j" * 250,
            topic=b"com.example." + b"t" * self._choose(3),
            priority=b"5" if variant == 1 else b"10",
            expiration=b"1800000000" if variant != 2 else None,
            collapse_id=b"c" * size if variant == 3 else None,
        )

    def answer(self) -> None:
        """Answer a request: with or without body, after a 100, with headers of any length."""
        if stream_ids := self.exchange.answerable():
            status = self._pick((200, 200, 400, 410, 503))
            body = b"" if status == 200 and self._choose(4) else b"b" * self._pick(BODY_SIZES[:-1])
            size = LONG_TEXT if self._choose(40) == 1 else self._pick(TEXT_SIZES)
            fields = [(b"apns-id", b"%d" % self._choose(3)), (b"apns-unique-id", b"u" * size)][: self._choose(3)]
            self.exchange.answer(self._pick(stream_ids), status, fields, body, is_early=self._choose(5) == 1)

    def send_body(self) -> None:
        """Send a part of an answer, with padding or trailers perhaps."""
        if stream_id := self._any_stream():
            padding = self._pick((None, None, 0, 255))
            self.exchange.send_body(stream_id, self._pick(CUTS), padding=padding, trailers=self._choose(5) == 1)

    def reset(self) -> None:
        """Reset a stream, from either side."""
        if stream_id := self._any_stream():
            if self._choose(2):
                self.exchange.reset_by_client(stream_id)
            else:
                self.exchange.reset_by_server(stream_id, self._pick((0, 5, 7)))

    def change_setting(self) -> None:
        """Change a setting of the server."""
        self.exchange.change_setting(*self._pick(SETTINGS))

    def add_credit(self) -> None:
        """Give credit for the connection or a stream."""
        stream_id = self._any_stream() if self._choose(2) else None
        self.exchange.add_credit(self._pick((1, 100, 5_000, 40_000)), stream_id)

    def ping(self) -> None:
        """Ask for a sign of life, from either side."""
        payload = b"%08d" % self._choose(100)
        if self._choose(2):
            self.exchange.server.ping(payload)
        else:
            self.exchange.pings.append(payload)
            self.exchange.client.ping(payload)

    def surprise(self) -> None:
        """Send what nobody knows, or a goodbye: a warning, or with a stream to end at."""
        surprise = self._choose(16)
        if surprise == 15:
            self.exchange.say_goodbye(self._pick((2**31 - 1, *self.exchange.seen)))
        elif surprise == 1:
            self.exchange.send_unknown_frame()

    def to_server(self) -> None:
        """Carry some bytes to the server."""
        self.exchange.deliver_to_server(self._pick(CUTS))

    def to_client(self) -> None:
        """Carry some bytes to the client."""
        self.exchange.deliver_to_client(self._pick(CUTS))

    def _any_stream(self) -> int | None:
        return self._pick((None, *self.exchange.seen))

    def _choose(self, options: int) -> int:
        return next(self._choices, 0) % options

    def _pick(self, options: Sequence[T]) -> T:
        return options[self._choose(len(options))]


#: The line moves most often, and requests and answers come more often than trouble.
STEPS: Final[tuple[Callable[[Schedule], None], ...]] = (
    *[Schedule.to_server, Schedule.to_client] * 4,
    *[Schedule.request] * 4,
    *[Schedule.answer] * 3,
    *[Schedule.send_body] * 2,
    Schedule.reset,
    *[Schedule.change_setting] * 2,
    *[Schedule.add_credit] * 2,
    Schedule.ping,
    Schedule.surprise,
)


@pytest.mark.timeout(7_200 if IS_LONG else 120)
@settings(max_examples=EXCHANGES, deadline=None, suppress_health_check=list(HealthCheck))
@given(choices=st.binary(min_size=120, max_size=500))
def test_any_schedule_ends_with_every_request_answered_and_equal_tables(choices: bytes) -> None:
    """No schedule deadlocks, mixes up answers, overruns a window (h2 would raise) or parts the HPACK tables."""
    schedule = Schedule(choices)
    schedule.play()
    exchange = schedule.exchange
    exchange.settle()
    if not exchange.client.is_going_away:
        exchange.change_setting(SettingCodes.MAX_CONCURRENT_STREAMS, 100)
        exchange.deliver_all()
        exchange.request(make_request(0))
        exchange.settle()
        exchange.check_tables()
