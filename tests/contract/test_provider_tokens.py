"""Each connection carries one provider token for long enough, and shows it to nobody but APNs."""

from __future__ import annotations

import asyncio
import logging

import pytest
import structlog

from dispatcher.errors import SigningError, TransportError
from tests.contract.conftest import NOW, Stage, UnsignedTokens, push, until
from tests.contract.scripted_server import Script, ScriptedServer, SeenRequest, ServerConnection, keep_silent
from workers.provider_token import JITTER_S, MIN_CARRY_S, ProviderToken, issued_at, window_ends_at

CHANGE: float = window_ends_at(NOW)


def shown(server: ScriptedServer) -> list[tuple[int, int]]:
    """Return connection and `iat` of every request."""
    return [(seen.connection, int(seen.headers["authorization"].rsplit("-", 1)[1])) for seen in server.requests]


async def test_young_connection_is_replaced_at_the_change(stage: Stage) -> None:
    """A connection that has carried its token for less than 21 minutes is drained and replaced, in its turn."""
    old, new = issued_at(NOW), issued_at(CHANGE)
    async with stage.server() as server, stage.transport(server.url, dice=lambda: 0.5) as transport:
        for now in (CHANGE - MIN_CARRY_S / 2, CHANGE - 1, CHANGE + 1, CHANGE + JITTER_S / 2, CHANGE + JITTER_S):
            stage.clock.now = now
            await transport.send(push())
        assert shown(server) == [(0, old), (0, old), (0, old), (1, new), (1, new)]
        await until(lambda: not server.connections[0].is_open)
        assert [info.provider_token_issued_at for info in transport.connections()] == [new]


async def test_replaced_connection_finishes_its_pushes(stage: Stage) -> None:
    """Pushes in flight when a connection is replaced are still answered on it."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        stage.clock.now = CHANGE - 1
        await transport.send(push())
        server.script.on_request = keep_silent
        staying = asyncio.create_task(transport.send(push()))
        await until(lambda: len(server.requests) == 2)
        server.script = Script()
        stage.clock.now = CHANGE + 1
        await transport.send(push())
        assert [(info.retired, info.in_flight) for info in transport.connections()] == [(True, 1), (False, 0)]
        server.connections[0].answer(server.requests[1].stream_id, 200)
        assert (await staying).is_accepted


async def test_old_connection_changes_its_token_in_place(stage: Stage) -> None:
    """A connection that has carried its token for 21 minutes changes it at the change, and stays."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        for now in (CHANGE - MIN_CARRY_S, CHANGE - 1, CHANGE, CHANGE + 1800):
            stage.clock.now = now
            await transport.send(push())
        old, new = issued_at(NOW), issued_at(CHANGE)
        assert shown(server) == [(0, old), (0, old), (0, new), (0, new + 1800)]


@pytest.mark.parametrize("now", [CHANGE - 0.5, CHANGE - 1200])
async def test_clock_that_steps_back_brings_no_old_token(stage: Stage, now: float) -> None:
    """When the clock steps back over a change, the connection keeps the newer token it has shown."""
    stage.clock.now = CHANGE
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())
        stage.clock.now = now
        await transport.send(push())
    assert shown(server) == [(0, issued_at(CHANGE))] * 2


@pytest.mark.parametrize("reason", ["ExpiredProviderToken", "UnrelatedKeyIdInToken"])
async def test_spoilt_connection_is_replaced(stage: Stage, reason: str) -> None:
    """After these answers a connection answers nothing else: it is retired and the next push takes a new one."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        await transport.send(push())

        def spoil(connection: ServerConnection, seen: SeenRequest) -> None:
            connection.answer(seen.stream_id, 403, b'{"reason":"%s"}' % reason.encode())

        server.script.on_request = spoil
        assert (await transport.send(push())).reason == reason
        server.script = Script()
        assert (await transport.send(push())).is_accepted
        assert [seen.connection for seen in server.requests] == [0, 0, 1]


async def test_stale_token_does_not_reconnect_at_full_speed(stage: Stage) -> None:
    """When even a fresh connection is spoilt at once, the pool pauses: the other pushes end unsent."""

    def spoil(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.answer(seen.stream_id, 403, b'{"reason":"ExpiredProviderToken"}')

    async with stage.server(Script(on_request=spoil)) as server, stage.transport(server.url) as transport:
        results = await asyncio.gather(*(transport.send(push()) for _ in range(10)), return_exceptions=True)
        unsent = [result for result in results if isinstance(result, TransportError) and not result.maybe_sent]
        assert len(unsent) == 9
        assert len(server.connections) == 1


async def test_key_that_cannot_sign_opens_no_connection(stage: Stage) -> None:
    """A push whose key has no provider token ends with the signing error, before anything is opened."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        with pytest.raises(SigningError):
            await transport.send(push(key_id="NOSUCHKEY0"))
        assert server.connections == []


async def test_key_that_stops_signing_ends_its_pushes(stage: Stage) -> None:
    """When the key cannot sign the next token, pushes end with the signing error and the transport lives on."""

    class EndingTokens(UnsignedTokens):
        def current(self, key_id: str, now: float) -> ProviderToken:
            return super().current(key_id if now < CHANGE else "NOSUCHKEY0", now)

    async with stage.server() as server, stage.transport(server.url, tokens=EndingTokens()) as transport:
        stage.clock.now = CHANGE - MIN_CARRY_S
        await transport.send(push())
        stage.clock.now = CHANGE
        with pytest.raises(SigningError):
            await transport.send(push())
        stage.clock.now = CHANGE - 1
        assert (await transport.send(push())).is_accepted


async def test_no_secret_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Provider token, device token and payload stay out of every log record and error, also at debug level."""
    caplog.set_level(logging.DEBUG)
    request = push(payload=b'{"aps":{"alert":"CANARY"}}', deadline_s=0.1)
    with structlog.testing.capture_logs() as events:
        async with stage.server() as server, stage.transport(server.url) as transport:
            await transport.send(request)
            server.script.on_request = keep_silent
            errors = await asyncio.gather(*(transport.send(request) for _ in range(2)), return_exceptions=True)
            server.script = Script()
            await transport.send(request)
            server.connections[-1].abort()
            await until(lambda: transport.connections() == [])
    written = f"{events} {caplog.text} {errors}"
    assert {"apns_connected", "apns_connection_lost", "apns_connection_retired"} <= {event["event"] for event in events}
    assert [type(error) for error in errors] == [TransportError] * 2
    for secret in ("secret-", "CANARY", request.device_token):
        assert secret not in written
