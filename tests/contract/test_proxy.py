"""Connections go through an HTTP proxy when one is configured, with TLS end to end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dispatcher.errors import TransportError
from tests.contract.conftest import Stage, push, until
from tests.contract.scripted_server import Script, serve
from workers.transport import dialling


class Proxy:
    """A proxy that opens tunnels, or answers what it is told; `asked` holds the requests."""

    def __init__(self, reply: bytes) -> None:
        self.url = ""
        self.asked: list[str] = []
        self._reply = reply
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        request = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(request.decode())
        if self._reply:
            writer.write(self._reply)
            writer.close()
            return
        host, _, port = request.split()[1].decode().rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection ")
        await asyncio.sleep(0)
        writer.write(b"established\r\nVia: 1.1 test\r\n\r\n")
        for source, sink in ((reader, upstream_writer), (upstream_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while received := await source.read(65_536):
                sink.write(received)
        except ConnectionError:
            sink.transport.abort()
        sink.close()


@asynccontextmanager
async def proxy(reply: bytes = b"") -> AsyncIterator[Proxy]:
    """Run a proxy on a loopback port."""
    running = Proxy(reply)
    server = await asyncio.start_server(running.handle, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
        await server.wait_closed()


async def test_pushes_go_through_the_tunnel(stage: Stage) -> None:
    """One CONNECT to the host and port of APNs carries all pushes; the certificate checked is that of APNs."""
    async with (
        stage.server() as server,
        proxy() as between,
        stage.transport(server.url, proxy=between.url) as transport,
    ):
        answers = await asyncio.gather(*(transport.send(push()) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        target = server.url.removeprefix("https://")
        assert between.asked == [f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"]
        assert {seen.headers[":authority"] for seen in server.requests} == {target}


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_nothing_is_missed_while_the_tunnel_is_handed_over(stage: Stage, hangs_up: bool) -> None:  # noqa: FBT001
    """What APNs says with the last bytes of an old handshake is heard, be it a greeting or its end."""
    context = stage.tls.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serve(Script(hangs_up=hangs_up), context) as server, proxy() as between:  # noqa: SIM117
        async with stage.transport(server.url, proxy=between.url) as transport:
            if hangs_up:
                with pytest.raises(TransportError) as caught:
                    await transport.send(push())
                assert not caught.value.maybe_sent
            else:
                assert (await transport.send(push())).is_accepted


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused with 407 Proxy Authentication Required"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "refused with no HTTP"),
        (b"HTTP/1.1 200", "closed the connection"),
        (b"x" * 20_000, "its answer has no end"),
    ],
)
async def test_proxy_that_opens_no_tunnel_fails_the_attempt(stage: Stage, reply: bytes, cause: str) -> None:
    """A refusal of the proxy is named, and its pushes end unsent."""
    async with stage.server() as server, proxy(reply) as between:  # noqa: SIM117
        async with stage.transport(server.url, proxy=between.url) as transport:
            with pytest.raises(TransportError, match=cause) as caught:
                await transport.send(push())
            assert not caught.value.maybe_sent
    assert server.connections == []


async def test_proxy_is_not_believed_to_be_apns(stage: Stage) -> None:
    """A certificate for another name is refused inside the tunnel, too."""
    async with stage.server() as server, proxy() as between:
        url = server.url.replace("127.0.0.1", "localhost")
        async with stage.transport(url, proxy=between.url) as transport:
            with pytest.raises(TransportError, match="cannot connect") as caught:
                await transport.send(push())
        assert not caught.value.maybe_sent
        assert server.requests == []


async def test_silent_proxy_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that says nothing costs no more time than a host that does not."""
    monkeypatch.setattr(dialling, "CONNECT_TIMEOUT_S", 0.1)
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with stage.transport("https://127.0.0.1:1", proxy=url) as transport:
        with pytest.raises(TransportError, match="no connection within"):
            await transport.send(push())
    await until(lambda: silent)
    silent[0].close()
    server.close()
