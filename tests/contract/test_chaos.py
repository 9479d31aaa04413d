"""Whatever a server does, in whatever order: each push ends once, in time, and truthfully."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes

from dispatcher.errors import TransportError
from tests.contract.conftest import Stage, push
from tests.contract.scripted_server import Script, ScriptedServer, SeenRequest, ServerConnection, accept, keep_silent
from workers.transport.keepalive import KeepaliveTimes
from workers.transport.port import ApnsAnswer

PUSHES: Final = 150
DEADLINE_S: Final = 0.5

#: How much later than their deadline pushes may end, on a busy machine; waiting for room comes on top.
GRACE_S: Final = 20.0

Act = Callable[[ServerConnection, SeenRequest, random.Random], None]


def _goaway(connection: ServerConnection, seen: SeenRequest, dice: random.Random) -> None:
    connection.go_away(seen.stream_id - 2 * dice.randrange(4))
    if dice.random() < 0.5:
        connection.hang_up()


def _streams(connection: ServerConnection, seen: SeenRequest, dice: random.Random) -> None:
    connection.settings({SettingCodes.MAX_CONCURRENT_STREAMS: dice.choice([1, 2, 5, 1000])})
    accept(connection, seen)


def _window(connection: ServerConnection, seen: SeenRequest, dice: random.Random) -> None:
    connection.settings({SettingCodes.INITIAL_WINDOW_SIZE: dice.choice([300, 4_000, 65_535])})
    accept(connection, seen)


#: What the server may do with a request -> how often.
ACTS: Final[dict[Act, int]] = {
    lambda connection, seen, _: accept(connection, seen): 60,
    lambda connection, seen, _: connection.answer(seen.stream_id, 400, b'{"reason":', b'"BadTopic"}'): 10,
    lambda connection, seen, _: connection.answer(seen.stream_id, 410): 10,
    lambda connection, seen, _: connection.answer(seen.stream_id, 403, b'{"reason":"ExpiredProviderToken"}'): 1,
    lambda connection, seen, _: keep_silent(connection, seen): 3,
    lambda connection, seen, _: connection.reset(seen.stream_id, ErrorCodes.REFUSED_STREAM): 6,
    lambda connection, seen, _: connection.reset(seen.stream_id, ErrorCodes.INTERNAL_ERROR): 3,
    _goaway: 2,
    _streams: 4,
    _window: 3,
    lambda connection, _seen, _: connection.abort(): 1,
    lambda connection, _seen, _: connection.hang_up(): 1,
    lambda connection, _seen, _: connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"): 1,
    lambda connection, _seen, _: setattr(connection, "is_deaf", True): 1,
}


def chaos(dice: random.Random) -> Script:
    """Return a server that throws the dice for each request."""

    def act(connection: ServerConnection, seen: SeenRequest) -> None:
        with suppress(StreamClosedError):  # the client gave up before
            dice.choices(list(ACTS), list(ACTS.values()))[0](connection, seen, dice)

    return Script(on_request=act)


def check(server: ScriptedServer, ends: dict[str, ApnsAnswer | BaseException]) -> None:
    """Compare what callers were told with what the server has seen and not disclaimed."""
    processed = Counter(seen.headers["apns-id"] for seen in server.requests if seen.is_whole and not seen.is_disclaimed)
    for apns_id, end in ends.items():
        times = processed[apns_id]
        if isinstance(end, ApnsAnswer):
            assert times == 1
        else:
            assert isinstance(end, TransportError), repr(end)
            assert times <= end.maybe_sent, f"{end}: seen {times} times"


@pytest.mark.parametrize("seed", range(200 if os.environ.get("APNS_LONG") else 5))
async def test_chaos_repeats_nothing_and_hides_nothing(stage: Stage, seed: int) -> None:
    """An answered push was processed once, one not sent never, one maybe sent at most once; afterwards pushes flow."""
    dice = random.Random(seed)  # noqa: S311  a test that can be repeated
    times = KeepaliveTimes(pong_s=0.1)
    async with (
        stage.server(chaos(dice)) as server,
        stage.transport(server.url, times=times, max_connections=3) as transport,
    ):
        requests = [
            push(
                apns_id=f"00000000-0000-4000-8000-{number:012x}",
                payload=b"x" * dice.choice([10, 250, 4096]),
                deadline_s=DEADLINE_S,
            )
            for number in range(PUSHES)
        ]
        async with asyncio.timeout(DEADLINE_S + GRACE_S):
            ends = await asyncio.gather(*(transport.send(request) for request in requests), return_exceptions=True)
        check(server, {request.apns_id: end for request, end in zip(requests, ends, strict=True)})
        server.script = Script()
        async with asyncio.timeout(GRACE_S):
            while True:
                with suppress(TransportError):
                    if (await transport.send(push(deadline_s=DEADLINE_S))).is_accepted:
                        break
                await asyncio.sleep(0.01)
