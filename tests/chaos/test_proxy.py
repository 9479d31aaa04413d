"""The proxy is the network it says it is: every test looks at it from both ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import BLACK_HOLE, HOST, Direction, Network, Proxy


class Echo:
    """A server that sends back what it gets, and remembers the sizes it got it in."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.pieces: list[int] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while received := connection.recv(65_536):
                    self.pieces.append(len(received))
                    connection.sendall(received)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Return a running echo."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """Return a proxy before it."""
    with Proxy(HOST, echo.port) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    """Return a client of the proxy that never waits long."""
    client = socket.create_connection((HOST, proxy.port), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ask(client: socket.socket, text: bytes) -> bytes:
    """Send something and return as much as came back."""
    client.sendall(text)
    received = b""
    while len(received) < len(text):
        received += client.recv(len(text) - len(received))
    return received


def is_silent(client: socket.socket) -> bool:
    """Tell whether nothing comes for a moment."""
    client.settimeout(0.2)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)


def test_passes(proxy: Proxy) -> None:
    """A well network carries a megabyte both ways, whole and in order."""
    text = bytes(range(256)) * 4096
    with connect(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(text,))
        sender.start()
        received = b""
        while len(received) < len(text):
            received += client.recv(65_536)
        sender.join()
    assert received == text


def test_latency(proxy: Proxy) -> None:
    """Latency counts each way, jitter never reorders."""
    proxy.set(Network(latency_s=0.05, jitter_s=0.02))
    with connect(proxy) as client:
        begun = time.monotonic()
        assert ask(client, b"0123456789") == b"0123456789"
        assert time.monotonic() - begun >= 2 * (0.05 - 0.02)


def test_black_hole(proxy: Proxy) -> None:
    """Nothing passes on old connections or new ones; afterwards what was held arrives."""
    with connect(proxy) as old:
        ask(old, b"before")
        proxy.set(Network(hold=BLACK_HOLE))
        with connect(proxy) as new:
            old.sendall(b"old")
            new.sendall(b"new")
            assert is_silent(old)
            assert is_silent(new)
            proxy.set(Network())
            assert old.recv(3) == b"old"
            assert new.recv(3) == b"new"


def test_holding_one_direction(proxy: Proxy, echo: Echo) -> None:
    """With answers held the server still gets every byte."""
    with connect(proxy) as client:
        ask(client, b"before")
        proxy.set(Network(hold=frozenset({Direction.TO_CLIENT})))
        client.sendall(b"question")
        assert is_silent(client)
        assert sum(echo.pieces) == len(b"before") + len(b"question")


def test_refusing(proxy: Proxy) -> None:
    """Connections are torn and new ones refused; afterwards the same port serves again."""
    with connect(proxy) as client:
        ask(client, b"before")
        proxy.set(Network(is_refusing=True))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.set(Network())
    with connect(proxy) as client:
        assert ask(client, b"after") == b"after"


def test_resetting(proxy: Proxy) -> None:
    """A reset tears what is connected and nothing else."""
    with connect(proxy) as client:
        ask(client, b"before")
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        assert ask(client, b"after") == b"after"


def test_slicing(proxy: Proxy) -> None:
    """Every byte may come alone."""
    proxy.set(Network(piece_bytes=1, latency_s=0.001))
    with connect(proxy) as client:
        assert ask(client, b"0123456789") == b"0123456789"


def test_moving_the_target(proxy: Proxy) -> None:
    """New connections lead to the new server, old ones stay where they are."""
    other = Echo()
    with connect(proxy) as old:
        ask(old, b"old")
        proxy.target(HOST, other.port)
        with connect(proxy) as new:
            ask(new, b"new!")
            ask(old, b"old")
    assert other.pieces == [4]
    other.close()


def test_holding_at_a_sign(proxy: Proxy, echo: Echo) -> None:
    """The piece that is the sign arrives; whatever the client says after it does not."""
    sprung = proxy.hold_once(lambda direction, piece: direction is Direction.TO_CLIENT and b"sign" in piece)
    with connect(proxy) as client:
        assert ask(client, b"nothing") == b"nothing"
        assert not sprung.is_set()
        assert ask(client, b"sign") == b"sign"
        assert sprung.wait(5)
        client.sendall(b"too late")
        assert is_silent(client)
        assert sum(echo.pieces) == len(b"nothing") + len(b"sign")
