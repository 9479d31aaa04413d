"""Connecting is verified, happens rarely, and its failure is known at once to everybody who waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from h2.settings import SettingCodes
from structlog.testing import capture_logs

from dispatcher.errors import SettingsError, TransportError
from dispatcher.push_types import Environment
from tests.contract.conftest import PATIENCE_S, ObservableTransport, Stage, push, until
from tests.contract.scripted_server import Script, keep_silent, serve
from workers.transport import aioapns_connection, channel_socket, dialling
from workers.transport import backoff as backoff_module
from workers.transport.backoff import ALARM_AFTER, Backoff, backoff_s
from workers.transport.keepalive import KeepaliveTimes


@pytest.fixture
def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def refusal(transport: ObservableTransport) -> TransportError:
    """Return the error of a push that cannot be sent."""
    with pytest.raises(TransportError) as caught:
        await transport.send(push())
    assert not caught.value.maybe_sent
    return caught.value


async def test_refused_connection_fails_every_waiting_push(stage: Stage, free_port: int) -> None:
    """All pushes that waited for the attempt end unsent, and during the pause further ones fail at once."""
    async with stage.transport(f"https://127.0.0.1:{free_port}") as transport:
        errors = await asyncio.gather(*(refusal(transport) for _ in range(50)))
        assert {f"127.0.0.1:{free_port}" in str(error) for error in errors} == {True}
        async with asyncio.timeout(0.1):
            assert str(await refusal(transport)) == str(errors[0])


async def test_pool_recovers_after_its_pause(stage: Stage, free_port: int) -> None:
    """Once APNs listens again, pushes flow again without help, after a pause and not before."""
    async with stage.transport(f"https://127.0.0.1:{free_port}") as transport:
        await refusal(transport)
        async with serve(Script(), stage.tls.context(), free_port) as server, asyncio.timeout(PATIENCE_S):
            attempts = 0
            while not server.requests:
                attempts += 1
                try:
                    await transport.send(push())
                except TransportError:
                    await asyncio.sleep(0.005)
            assert attempts > 1
            assert len(server.connections) == 1


@pytest.mark.parametrize("fault", ["stranger", "no alpn", "unknown authority", "no such host"])
async def test_server_that_is_not_apns_gets_nothing(stage: Stage, fault: str) -> None:
    """No push goes to a server with another's certificate, an unknown authority, or without HTTP/2."""
    certificate = stage.tls.stranger if fault == "stranger" else None
    ca_file = None if fault == "unknown authority" else stage.tls.ca
    context = stage.tls.context(certificate, alpn=fault != "no alpn")
    async with serve(Script(), context) as server:
        url = "https://no-such-host.invalid" if fault == "no such host" else server.url
        async with stage.transport(url, ca_file=ca_file) as transport:
            await refusal(transport)
        assert server.requests == []


def test_alarm_of_a_server_out_of_reach() -> None:
    """Somebody is told at the third failure in a row, then once a minute, whatever succeeded in between."""
    backoff, alarms = Backoff(), []
    for second in range(150):
        backoff.fail("cannot connect", now=float(second), dice=0.0)
        if backoff.is_alarm_due(float(second)):
            alarms.append(second)
        if second == 20:
            backoff.succeed()
    assert alarms == [2, 62, 122]


async def test_a_server_out_of_reach_is_told_of(stage: Stage, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pushes fail while Apple is out of reach, it is one line, with the cause."""
    monkeypatch.setattr(backoff_module, "FIRST_PAUSE_S", 0.01)
    with capture_logs() as logs:
        async with stage.transport(f"https://127.0.0.1:{free_port}") as transport, asyncio.timeout(PATIENCE_S):
            while not (alarms := [line for line in logs if line["event"] == "apns_unreachable"]):
                await asyncio.gather(*(refusal(transport) for _ in range(20)))
                await asyncio.sleep(0.005)
            for _ in range(20):
                await refusal(transport)
    assert [(line["log_level"], line["failures"]) for line in alarms] == [("error", ALARM_AFTER)]
    assert f"127.0.0.1:{free_port}" in alarms[0]["cause"]


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Listen, and never say a word: the connection is made, TLS is not."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"


async def test_attempt_to_connect_ends(stage: Stage, black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that gets no answer is given up, and the pushes behind it end unsent."""
    monkeypatch.setattr(dialling, "CONNECT_TIMEOUT_S", 0.1)
    async with stage.transport(black_hole) as transport:
        assert "no connection within" in str(await refusal(transport))


async def test_closing_does_not_wait_for_an_attempt(stage: Stage, black_hole: str) -> None:
    """Closing the transport while it connects ends the waiting pushes at once."""
    async with stage.transport(black_hole) as transport:
        waiting = [asyncio.create_task(refusal(transport)) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(0.5):
            await transport.close()
            await asyncio.gather(*waiting)


@pytest.mark.parametrize("hangs_up", ["at once", "at the first request"])
async def test_server_that_hangs_up_makes_the_pool_pause(stage: Stage, hangs_up: str) -> None:
    """A connection lost before it was of use counts as a failed attempt: nobody reconnects at full speed."""
    script = Script(on_request=lambda connection, _: connection.abort(), hangs_up=hangs_up == "at once")
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        results = await asyncio.gather(*(transport.send(push()) for _ in range(10)), return_exceptions=True)
        errors = [result for result in results if isinstance(result, TransportError)]
        assert len(errors) == 10
        assert sum(error.maybe_sent for error in errors) <= 1
        await refusal(transport)
        assert len(server.connections) == 1


def test_unreadable_ca_file_is_a_problem_of_the_settings(stage: Stage) -> None:
    """A CA file that is no certificate stops the start and names itself."""
    with pytest.raises(SettingsError, match=r"test_connecting\.py"):
        stage.make(endpoints={}, ca_file=__file__, max_connections=1, tokens=None, now=stage.clock)


async def test_connections_are_made_one_at_a_time_and_capped(stage: Stage) -> None:
    """When the streams of one connection are used up another is opened, but never more than allowed."""
    script = Script(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    async with stage.server(script) as server, stage.transport(server.url, max_connections=2) as transport:
        await transport.send(push())
        script.on_request = keep_silent
        sending = [asyncio.create_task(transport.send(push())) for _ in range(12)]
        await until(lambda: len(server.connections) == 2 and len(server.requests) == 5)  # 1, then 3, then 1 alone
        script.on_request = lambda connection, seen: connection.answer(seen.stream_id, 200)
        for seen in server.requests[1:]:
            server.connections[seen.connection].answer(seen.stream_id, 200)
        assert {answer.status for answer in await asyncio.gather(*sending)} == {200}
        assert len(server.connections) == 2
        assert max(connection.most_open for connection in server.connections) == 3


async def test_environments_and_keys_share_no_connection(stage: Stage) -> None:
    """APNs binds a connection to a team and key: each environment and key has its own."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        for environment in Environment:
            for key_id in ("KEYID12345", "KEYID67890", "KEYID12345"):
                await transport.send(push(environment=environment, key_id=key_id))
        infos = transport.connections()
    assert len(server.connections) == 4
    assert len({(info.environment, info.key_id) for info in infos}) == 4
    assert [seen.headers["authorization"].split("-")[1] for seen in server.requests[:2]] == ["KEYID12345", "KEYID67890"]


async def test_connection_is_replaced_when_its_stream_ids_run_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that has used its last stream id gives way to a new one; no push is lost."""
    monkeypatch.setattr(aioapns_connection, "LAST_STREAM_ID", 5)
    monkeypatch.setattr(channel_socket, "FIRST_STREAM_ID", 2**31 - 5)
    async with stage.server() as server, stage.transport(server.url) as transport:
        answers = await asyncio.gather(*(transport.send(push()) for _ in range(7)))
    assert {answer.status for answer in answers} == {200}
    assert [seen.connection for seen in server.requests] == [0, 0, 0, 1, 1, 1, 2]


async def test_quiet_connection_stays_open_and_an_unused_one_closes(stage: Stage) -> None:
    """PINGs keep a quiet connection alive until nobody has used it for long."""
    times = KeepaliveTimes(quiet_s=0.02, pong_s=0.02, idle_s=0.4)
    async with stage.server() as server, stage.transport(server.url, times=times) as transport:
        await transport.send(push())
        opened = asyncio.get_running_loop().time()
        await until(lambda: transport.connections() == [])
        assert asyncio.get_running_loop().time() - opened > 0.35
        await until(lambda: not server.connections[0].is_open)


async def test_quiet_connection_is_asked_before_a_push_goes_there(stage: Stage) -> None:
    """After a while of silence a push waits for the answer to a PING, and goes the same way."""
    times = KeepaliveTimes(trust_s=0.05)
    async with stage.server() as server, stage.transport(server.url, times=times) as transport:
        for pings in range(3):
            await transport.send(push())
            assert server.connections[0].pings == pings
            heard = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > heard + 0.1)  # noqa: B023
        assert len(server.connections) == 1


async def test_push_is_not_trusted_to_a_quiet_connection_that_is_dead(stage: Stage) -> None:
    """A push after a while of silence is not lost on a dead connection: it goes on a new one, soon.

    Sent on the dead one it would have ended as maybe sent.
    """
    times = KeepaliveTimes(trust_s=0.05, pong_s=0.1)
    async with stage.server() as server, stage.transport(server.url, times=times) as transport:
        await transport.send(push())
        server.connections[0].is_deaf = True
        heard = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > heard + 0.1)
        async with asyncio.timeout(1.0):
            assert (await transport.send(push())).is_accepted
        assert [seen.connection for seen in server.requests] == [0, 1]


async def test_connection_that_answers_no_ping_is_dropped(stage: Stage) -> None:
    """A connection whose other end is gone without a word is found out and dropped."""
    times = KeepaliveTimes(quiet_s=0.05, pong_s=0.05)
    async with stage.server() as server, stage.transport(server.url, times=times) as transport:
        await transport.send(push())
        server.script.is_deaf = True
        await until(lambda: transport.connections() == [])


def test_pauses_double_up_to_a_limit() -> None:
    """The pause after failed attempts grows from half a second to thirty, less up to a half by chance."""
    assert [backoff_s(failures, 0.0) for failures in (1, 2, 3, 7, 5000)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert backoff_s(1, 1.0) == 0.25
