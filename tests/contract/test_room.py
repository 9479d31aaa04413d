"""Pushes wait for room and credit, ask their gate at the last moment, and never crowd a connection."""

from __future__ import annotations

import asyncio
import time

import pytest
from h2.settings import SettingCodes

from dispatcher.errors import TransportError
from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import Script, SeenRequest, ServerConnection, accept, keep_silent
from workers.transport.connections import START_IN_FLIGHT
from workers.transport.port import GateClosedError


async def test_first_push_goes_alone_and_the_pool_grows_with_success(stage: Stage) -> None:
    """One push proves the connection; then eight and one more for each that Apple took may be in flight."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        sending = [asyncio.create_task(transport.send(push())) for _ in range(40)]
        await until(lambda: server.requests)
        connection = server.connections[0]
        assert transport.connections()[0].in_flight == 1
        connection.answer(1, 200)
        await until(lambda: len(server.requests) == 1 + START_IN_FLIGHT + 1)
        assert transport.connections()[0].in_flight == START_IN_FLIGHT + 1
        for seen in server.requests[1:]:
            connection.answer(seen.stream_id, 200)
        await until(lambda: len(server.requests) == 1 + 9 + 18)
        server.script.on_request = accept
        for seen in server.requests[10:]:
            connection.answer(seen.stream_id, 200)
        await asyncio.gather(*sending)
        assert len(server.connections) == 1


async def test_wrong_key_is_found_out_one_push_at_a_time(stage: Stage) -> None:
    """While Apple refuses the provider token, never more than one push is in flight."""

    def refuse(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.answer(seen.stream_id, 403, b'{"reason":"InvalidProviderToken"}')

    async with stage.server(Script(on_request=refuse)) as server, stage.transport(server.url) as transport:
        await asyncio.gather(*(transport.send(push()) for _ in range(20)))
        assert server.connections[0].most_open == 1


async def test_stream_limit_is_obeyed_as_it_changes(stage: Stage) -> None:
    """One stream until Apple raises the limit, more then, and one again when it slows us down."""
    script = Script(on_request=keep_silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    async with stage.server(script) as server, stage.transport(server.url, max_connections=2) as transport:
        sending = [asyncio.create_task(transport.send(push())) for _ in range(30)]
        await until(lambda: server.requests)
        connection = server.connections[0]
        connection.answer(1, 200)
        await until(lambda: len(server.requests) == 2)
        connection.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
        await until(lambda: connection.most_open == START_IN_FLIGHT + 1)
        connection.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        await until(lambda: connection.h2.local_settings.max_concurrent_streams == 1)
        connection.most_open = 0
        script.on_request = accept
        for seen in server.requests[1:]:
            connection.answer(seen.stream_id, 200)
        await asyncio.gather(*sending)
        assert connection.most_open == 1
        assert len(server.connections) == 1


async def test_payload_waits_for_credit(stage: Stage) -> None:
    """A payload larger than its window goes in pieces, as credit comes, and arrives whole."""
    payload = bytes(range(256)) * 16
    script = Script(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000}, gives_credit=False)
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        await transport.send(push())
        sending = asyncio.create_task(transport.send(push(payload=payload)))
        for received in (1000, 3000):
            await until(lambda: len(server.requests) == 2 and len(server.requests[1].body) == received)  # noqa: B023
            assert not server.requests[1].is_whole
            server.connections[0].credit(2000, server.requests[1].stream_id)
        assert (await sending).is_accepted
        assert server.requests[1].body == payload


async def test_push_that_never_got_credit_was_not_sent(stage: Stage) -> None:
    """At its deadline a push whose payload is still incomplete is withdrawn: certainly not sent."""
    script = Script(settings={SettingCodes.INITIAL_WINDOW_SIZE: 100}, gives_credit=False)
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        await transport.send(push())
        with pytest.raises(TransportError) as caught:
            await transport.send(push(payload=b"x" * 200, deadline_s=0.1))
        assert not caught.value.maybe_sent
        assert not server.requests[1].is_whole


async def test_no_stream_is_opened_without_credit(stage: Stage) -> None:
    """While the connection has no credit, pushes wait unopened, and go once it comes; that is no reason to connect."""
    script = Script(gives_credit=False)
    async with stage.server(script) as server, stage.transport(server.url, max_connections=2) as transport:
        await transport.send(push(payload=b"x" * 5000))
        sending = [asyncio.create_task(transport.send(push(payload=b"x" * 5000, deadline_s=2.0))) for _ in range(20)]
        await until(lambda: sum(len(seen.body) for seen in server.requests) == 65_535)
        assert len(server.requests) == 14
        assert sum(not seen.is_whole for seen in server.requests) == 1
        server.connections[0].credit(100_000)
        assert {answer.status for answer in await asyncio.gather(*sending)} == {200}
        assert len(server.connections) == 1


async def test_pushes_of_one_turn_leave_in_one_write(stage: Stage) -> None:
    """What is sent in one turn of the event loop is encrypted and written once."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        server.script.on_request = keep_silent
        connection = server.connections[0]
        connection.reads = 0
        sending = [asyncio.create_task(transport.send(push())) for _ in range(START_IN_FLIGHT)]
        await until(lambda: len(server.requests) == 1 + START_IN_FLIGHT)
        assert connection.reads == 1
        for seen in server.requests[1:]:
            connection.answer(seen.stream_id, 200)
        await asyncio.gather(*sending)


async def test_pushes_wait_while_apns_does_not_read(stage: Stage) -> None:
    """While the socket takes nothing more, pushes wait unopened; they go when APNs reads on."""
    large = push(payload=b"x" * 6_000_000, deadline_s=60.0)  # sockets and TLS take several MB before they ask to pause
    script = Script(settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**26})
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        await transport.send(push())
        connection = server.connections[0]
        connection.credit(2**26)
        await transport.send(push())  # the credit has arrived with the answer
        connection.stop_reading()
        sending = [asyncio.create_task(transport.send(large))]
        await until(lambda: transport.connections()[0].in_flight == 1)
        while transport.connections()[0].in_flight == len(sending):
            sending.append(asyncio.create_task(transport.send(large)))
            await asyncio.sleep(0)
        assert len(sending) < START_IN_FLIGHT
        connection.read_on()
        assert {answer.status for answer in await asyncio.gather(*sending)} == {200}


async def test_waiting_push_whose_caller_left_is_not_sent(stage: Stage) -> None:
    """A push cancelled while it waits for room never leaves."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        first, leaving, last = (asyncio.create_task(transport.send(push(payload=b"%d" % n))) for n in range(3))
        await until(lambda: server.requests)
        leaving.cancel()
        server.script.on_request = accept
        server.connections[0].answer(1, 200)
        await asyncio.gather(first, last)
        assert [seen.body for seen in server.requests] == [b"0", b"2"]


async def test_push_that_cannot_be_written_harms_no_other(stage: Stage) -> None:
    """A header that has no bytes ends its push unsent; the next one goes through."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        with pytest.raises(TransportError) as caught:
            await transport.send(push(collapse_id="\ud800"))
        assert not caught.value.maybe_sent
        assert (await transport.send(push())).is_accepted
        assert len(server.requests) == 2


async def test_closed_gate_keeps_a_push_from_leaving(stage: Stage) -> None:
    """A push whose gate is closed when its stream would open ends with GateClosedError and is never seen."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        for _ in range(2):
            with pytest.raises(GateClosedError):
                await transport.send(push(may_open=lambda: False))
        assert (await transport.send(push())).is_accepted
        assert len(server.requests) == 1


async def test_gate_is_asked_again_while_waiting(stage: Stage) -> None:
    """A push that waits for room ends soon after its gate closes, without being sent."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        first = asyncio.create_task(transport.send(push()))
        await until(lambda: server.requests)
        closes_at = time.monotonic() + 0.1
        with pytest.raises(GateClosedError):
            await transport.send(push(may_open=lambda: time.monotonic() < closes_at))
        assert time.monotonic() - closes_at < 0.6
        server.connections[0].answer(1, 200)
        await first
        assert len(server.requests) == 1


async def test_gate_is_asked_when_room_comes(stage: Stage) -> None:
    """Room that comes after the gate has closed does not let the push out."""
    is_open = True
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        first = asyncio.create_task(transport.send(push()))
        waiting = asyncio.create_task(transport.send(push(may_open=lambda: is_open)))
        await until(lambda: server.requests)
        is_open = False
        server.connections[0].answer(1, 200)
        await first
        with pytest.raises(GateClosedError):
            await waiting
        assert len(server.requests) == 1


async def test_deadline_starts_when_the_stream_opens(stage: Stage) -> None:
    """Waiting for room is no part of the deadline."""
    async with stage.server(Script(on_request=keep_silent)) as server, stage.transport(server.url) as transport:
        first = asyncio.create_task(transport.send(push()))
        waiting = asyncio.create_task(transport.send(push(deadline_s=0.2)))
        await until(lambda: server.requests)
        asked_at = time.monotonic()
        await until(lambda: time.monotonic() - asked_at > 0.3)
        server.connections[0].answer(1, 200)
        await first
        await until(lambda: len(server.requests) == 2)
        server.connections[0].answer(3, 200)
        assert (await waiting).is_accepted
