"""What only shows after thousands of pushes: windows that are given back, and credit that comes late."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from h2.settings import SettingCodes

from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import Script, SeenRequest, ServerConnection, accept, keep_silent


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b'{"reason":"BadDeviceToken"}'), (410, b'{"reason":"Unregistered","timestamp":1700000000000}')],
)
async def test_thousands_of_refusals_do_not_stop_the_connection(stage: Stage, status: int, body: bytes) -> None:
    """5,000 answers with bodies, several windows full, all arrive on one connection and nothing is sent again."""

    def refuse(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.answer(seen.stream_id, status, body)

    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        server.script.on_request = refuse
        answers = await asyncio.gather(*(transport.send(push(deadline_s=60.0)) for _ in range(5000)))
        assert Counter(answer.status for answer in answers) == {status: 5000}
        assert len(server.requests) == 5001
        assert len(server.connections) == 1


async def test_late_credit_loses_and_repeats_nothing(stage: Stage) -> None:
    """300 payloads of 4 kB go through windows of 65,535 bytes whose credit comes in bits and late."""
    payloads = [b"%04d" % number + b"x" * 4090 for number in range(300)]
    script = Script(gives_credit=False)
    async with stage.server(script) as server, stage.transport(server.url) as transport:

        async def trickle() -> None:
            given = 0
            while True:
                await asyncio.sleep(0.002)
                received = sum(len(seen.body) for seen in server.requests)
                if step := min(received - given, 30_000):
                    server.connections[0].credit(step)
                    given += step

        trickling = asyncio.create_task(trickle())
        answers = await asyncio.gather(
            *(transport.send(push(payload=payload, deadline_s=30.0)) for payload in payloads)
        )
        trickling.cancel()
        assert {answer.status for answer in answers} == {200}
        assert sorted(seen.body for seen in server.requests) == payloads
        assert len(server.connections) == 1


async def test_window_of_nothing_is_waited_out(stage: Stage) -> None:
    """A server that allows no payload at all gets none; when it allows some, the pushes arrive."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        connection = server.connections[0]
        connection.settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        assert (await transport.send(push(payload=b""))).is_accepted
        server.script.on_request = keep_silent
        sending = [asyncio.create_task(transport.send(push())) for _ in range(5)]
        await until(lambda: len(server.requests) > 2)
        assert {seen.body for seen in server.requests[2:]} == {b""}
        server.script.on_request = accept
        connection.settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        assert {answer.status for answer in await asyncio.gather(*sending)} == {200}
