"""Cases that are no simple request: each does something with a connection, and says in words what came of it."""

from __future__ import annotations

import socket
import ssl
import warnings
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from dispatcher.dev.simulator import device_token

if TYPE_CHECKING:
    from tests.simulator.client import Client
    from tests.simulator.running import RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
SHORT_S = 0.2
PATIENCE_S = 5.0
UNKNOWN = device_token(906)
SETTINGS_FRAME = 4


def error_name(error_code: int) -> str:
    """Return the name of an HTTP/2 error code."""
    return ErrorCodes(error_code).name


def open_tls(apns: RunningSimulator, alpn: list[str]) -> ssl.SSLSocket:
    """Connect with these protocols offered, none for no ALPN at all."""
    context = ssl.create_default_context(cafile=str(apns.ca_file))
    if alpn:
        context.set_alpn_protocols(alpn)
    plain = socket.create_connection(("127.0.0.1", apns.simulator.port), timeout=PATIENCE_S)
    return context.wrap_socket(plain, server_hostname="localhost")


def tls_1_1(apns: RunningSimulator) -> str:
    """Offer nothing newer than TLS 1.1."""
    context = ssl.create_default_context(cafile=str(apns.ca_file))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", apns.simulator.port), timeout=PATIENCE_S) as plain:
        try:
            context.wrap_socket(plain, server_hostname="localhost")
        except ssl.SSLError:
            return "handshake failure"
    return "connected"


def alpn_h2(apns: RunningSimulator) -> str:
    """Offer h2."""
    return _first_frame(apns, ["h2"])


def alpn_none(apns: RunningSimulator) -> str:
    """Offer no protocol."""
    return _first_frame(apns, [])


def alpn_http1(apns: RunningSimulator) -> str:
    """Offer HTTP/1.1 alone."""
    return _first_frame(apns, ["http/1.1"])


def http1_text(apns: RunningSimulator) -> str:
    """Send a request of HTTP/1.1."""
    received = b""
    with open_tls(apns, []) as connection:
        connection.sendall(b"POST /3/device/aa HTTP/1.1\r\nhost: localhost\r\n\r\n")
        while piece := connection.recv(65_536):
            received += piece
    goaway = received[received.index(b"Unexpected") - 17 :]
    return f"GOAWAY {error_name(int.from_bytes(goaway[13:17], 'big'))} {goaway[17:].decode()}, closed"


def priority(apns: RunningSimulator) -> str:
    """Send PRIORITY frames around a push."""
    with apns.connect() as client:
        client.http2.prioritize(1, weight=7)
        reply = client.ask(_headers(apns), PAYLOAD)
        client.http2.prioritize(1, weight=8)
        return f"ignored, {reply.status}"


def ping(apns: RunningSimulator) -> str:
    """Send a PING."""
    with apns.connect() as client:
        client.http2.ping(b"12345678")
        client.flush()
        client.receive_until(lambda: bool(client.pongs))
        return "the same 8 bytes" if client.pongs == [b"12345678"] else str(client.pongs)


def shutdown(apns: RunningSimulator) -> str:
    """Shut down while an answer is held back, then try another stream."""
    with apns.connect() as client:
        client.ask(_headers(apns), PAYLOAD)
        apns.call(apns.simulator.switches.hold.set)
        due = client.replies[client.start(_headers(apns), PAYLOAD)]
        while apns.simulator.stats.requests < 2:
            client.receives(lambda: due.is_whole, 0.01)
        apns.call(apns.simulator.go_away)
        client.receive_until(lambda: bool(client.goaways))
        later = client.replies[client.start(_headers(apns), PAYLOAD)]
        client.receives(lambda: later.is_whole, SHORT_S)
        apns.call(apns.simulator.switches.hold.clear)
        client.receive_until(lambda: client.is_closed)
        goaway = client.goaways[0]
        name, debug = error_name(int(goaway.error_code or 0)), (goaway.additional_data or b"").decode()
        told = f"GOAWAY {name} {debug} last {goaway.last_stream_id}"
        return f"{told}, due answer {due.status}, later stream {later.status or 'none'}"


def many_payloads(apns: RunningSimulator) -> str:
    """Send 20 payloads of 4 KB as fast as the window lets through."""
    with apns.connect() as client:
        client.ask(_headers(apns), PAYLOAD)
        sent = _send_large(apns, client)
        answered = sum(client.replies[stream_id].status == 200 for stream_id in sent)
        return f"{answered} of 20 answered"


def withheld_window(apns: RunningSimulator) -> str:
    """Send 20 payloads of 4 KB while the server gives no credit, then once it does."""
    with apns.connect() as client:
        apns.call(lambda: apns.simulator.return_windows(returns=False))
        client.ask(_headers(apns), PAYLOAD)
        left = client.http2.outbound_flow_control_window
        streams = [_open_stream(apns, client, number) for number in range(20)]
        unsent = {stream_id: _payload() for stream_id in streams}
        _push_bytes(client, unsent)
        assert not client.receives(lambda: client.http2.outbound_flow_control_window > 0, SHORT_S)
        sent = 65_535 - left + (20 * len(_payload()) - sum(map(len, unsent.values())))
        apns.call(lambda: apns.simulator.return_windows(returns=True))
        while unsent:
            client.receive_until(lambda: client.http2.outbound_flow_control_window > 0)
            _push_bytes(client, unsent)
        client.receive_until(lambda: all(client.replies[stream_id].is_whole for stream_id in streams))
        return f"sent {sent} bytes, then all 20 answered"


def unacknowledged_bodies(apns: RunningSimulator) -> str:
    """Get refusals without ever giving the server its window back."""
    body_bytes = len(b'{"reason":"BadDeviceToken"}')
    headers = _headers(apns, UNKNOWN)
    with apns.connect(acknowledges=False) as client:
        whole = 0
        while True:
            reply = client.replies[client.start(headers, PAYLOAD)]
            client.receive_until(lambda reply=reply: bool(reply.headers))  # type: ignore[misc]
            if client.http2.inbound_flow_control_window < body_bytes and not client.receives(
                lambda reply=reply: reply.is_whole,  # type: ignore[misc]
                SHORT_S,
            ):
                break
            client.receive_until(lambda reply=reply: reply.is_whole)  # type: ignore[misc]
            whole += 1
        client.http2.increment_flow_control_window(body_bytes)
        client.flush()
        client.receive_until(lambda: reply.is_whole)
        return f"{whole} bodies, then {reply.status} without body until WINDOW_UPDATE"


def idle(apns: RunningSimulator) -> str:
    """Push, be idle beyond the limit, and push again."""
    with apns.connect() as client:
        client.ask(_headers(apns), PAYLOAD)
        apns.clock.now += 3601
        try:
            if client.receives(lambda: bool(client.goaways), SHORT_S):
                goaway = client.goaways[0]
                return f"GOAWAY {error_name(int(goaway.error_code or 0))} {(goaway.additional_data or b'').decode()}"
            reply = client.replies[client.start(_headers(apns), PAYLOAD)]
            return str(reply.status) if client.receives(lambda: reply.is_whole, SHORT_S) else "silence"
        except (ConnectionError, ssl.SSLError):
            return "closed"


def connect_rate(apns: RunningSimulator) -> str:
    """Connect again and again within a minute, and once more behind it."""
    connected = 0
    try:
        for _ in range(10):
            with apns.connect():
                connected += 1
    except (ConnectionError, ssl.SSLError):
        apns.clock.now += 60
        with apns.connect():
            return f"{connected} connected, then reset; after a minute connected"
    return f"{connected} connected"


def broadcast_start(apns: RunningSimulator) -> str:
    """Broadcast a start and an update to a phone that listens."""
    phone = apns.phone(device_token(900))
    with apns.connect() as client:
        body = b'{"message-storage-policy":0,"push-type":"LiveActivity"}'
        authorization = dict(_headers(apns))["authorization"]
        common = [(":method", "POST"), (":scheme", "https"), (":authority", "x"), ("authorization", authorization)]
        made = client.ask([(":path", "/1/apps/com.ex.a/channels"), *common], body)
        phone.subscribe(made.headers["apns-channel-id"])
        broadcast = [
            (":path", "/4/broadcasts/apps/com.ex.a"),
            *common,
            ("apns-channel-id", made.headers["apns-channel-id"]),
            ("apns-push-type", "LiveActivity"),
            ("apns-expiration", "0"),
            ("apns-priority", "10"),
        ]
        statuses = {client.ask(broadcast, b'{"aps":{"event":"%s"}}' % event).status for event in (b"start", b"update")}
    dropped, received = [each.push.payload for each in phone.dropped], [push.payload for push in phone.received]
    is_right = (dropped, received) == ([b'{"aps":{"event":"start"}}'], [b'{"aps":{"event":"update"}}'])
    return f"{statuses.pop()}, {'start dropped, update received' if is_right else f'{dropped} {received}'}"


def _first_frame(apns: RunningSimulator, alpn: list[str]) -> str:
    with open_tls(apns, alpn) as connection:
        frame_type = connection.recv(65_536)[3]
        return f"{connection.selected_alpn_protocol() or 'none'}, {'SETTINGS' if frame_type == SETTINGS_FRAME else '?'}"


def _headers(apns: RunningSimulator, token: str = "") -> list[tuple[str, str]]:
    token = token or device_token(900)
    if apns.simulator.registrations.get(token) is None and token != UNKNOWN:
        apns.simulator.registrations.register(token)
    return apns.headers(device_token=token)


def _payload() -> bytes:
    return b'{"aps":{"alert":"' + b"x" * 4_000 + b'"}}'


def _open_stream(apns: RunningSimulator, client: Client, number: int) -> int:
    headers = _headers(apns, device_token(1_000 + number))
    return client.open(headers)


def _push_bytes(client: Client, unsent: dict[int, bytes]) -> None:
    """Send what the windows let through, in pieces, and forget what is sent."""
    for stream_id, body in list(unsent.items()):
        size = min(len(body), client.http2.local_flow_control_window(stream_id))
        if size > 0:
            client.http2.send_data(stream_id, body[:size], end_stream=size == len(body))
            unsent[stream_id] = body[size:]
        if not unsent[stream_id]:
            del unsent[stream_id]
    client.flush()


def _send_large(apns: RunningSimulator, client: Client) -> list[int]:
    streams = [_open_stream(apns, client, number) for number in range(20)]
    unsent = {stream_id: _payload() for stream_id in streams}
    _push_bytes(client, unsent)
    while unsent:
        client.receive_until(lambda: client.http2.outbound_flow_control_window > 0)
        _push_bytes(client, unsent)
    client.receive_until(lambda: all(client.replies[stream_id].is_whole for stream_id in streams))
    return streams
