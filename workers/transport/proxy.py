"""A tunnel through an HTTP proxy, for networks that let nothing else out; TLS runs inside it, end to end.

Source: RFC 9110 section 9.3.6 (CONNECT).
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

#: More than any answer to CONNECT has.
MAX_REPLY_BYTES: Final = 16_384

_HEADERS_END: Final = b"\r\n\r\n"
_STATUS_LINE_WORDS: Final = 3
_DEFAULT_PORT: Final = 80


class _ConnectReply(asyncio.Protocol):
    """Waits for the proxy's answer; `reply` gets its status line."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Read until the headers end; nothing follows them, since TLS begins with us."""
        self._received += data
        if self.reply.done():
            return
        if _HEADERS_END in self._received:
            self.reply.set_result(self._received.split(b"\r\n", 1)[0].decode("latin-1"))
        elif len(self._received) > MAX_REPLY_BYTES:
            self.reply.set_exception(ConnectionError("proxy: its answer has no end"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the proxy has gone."""
        if not self.reply.done():
            self.reply.set_exception(ConnectionError(f"proxy: closed the connection {exc or ''}".rstrip()))


async def open_tunnel(proxy: str, host: str, port: int, *, next_address_s: float) -> asyncio.Transport:
    """Return a plain connection that ends at a host beyond the proxy.

    Args:
        proxy: `http://HOST:PORT`.
        host: Where the tunnel leads.
        port: Its port.
        next_address_s: How long one address of the proxy may take before the next is tried beside it.

    Raises:
        OSError: The proxy cannot be reached, or refuses.
    """
    address = urlsplit(proxy)
    transport, protocol = await asyncio.get_running_loop().create_connection(
        _ConnectReply, address.hostname or "", address.port or _DEFAULT_PORT, happy_eyeballs_delay=next_address_s
    )
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        transport.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        _check(await protocol.reply)
    except BaseException:
        transport.abort()
        raise
    return transport


def _check(status_line: str) -> None:
    words = status_line.split(" ", _STATUS_LINE_WORDS - 1)
    is_http = words[0].startswith("HTTP/1.") and len(words) > 1
    if not is_http or not (words[1].isdigit() and words[1].startswith("2")):
        raise ConnectionError(f"proxy: refused with {' '.join(words[1:]) if is_http else 'no HTTP'}")
