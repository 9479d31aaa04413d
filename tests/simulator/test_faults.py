"""Every fault of the table, as a client meets it, and which requests and connections it befalls."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from dispatcher.dev.simulator import (
    FAULTS,
    Answer,
    ConnectFault,
    Fault,
    Form,
    Goaway,
    HpackForm,
    SimulatorSettings,
    device_token,
    special_device_token,
)
from dispatcher.dev.simulator.device_tokens import FORMS

if TYPE_CHECKING:
    from tests.simulator.client import Client, Reply
    from tests.simulator.running import Run, RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
PHONE = device_token(77)
SHORT_S = 0.15

#: Fault of a request -> what a client sees of it, and whether the phone gets the push.
SEEN: dict[str, tuple[str, bool]] = {
    "internal_server_error": ('500 {"reason":"InternalServerError"}', False),
    "service_unavailable": ('503 {"reason":"ServiceUnavailable"}', False),
    "service_unavailable_retry_after": ('503 {"reason":"ServiceUnavailable"} retry-after 1', False),
    "too_many_requests": ('429 {"reason":"TooManyRequests"}', False),
    "shutdown": ('503 {"reason":"Shutdown"}; GOAWAY 3; closed', False),
    "unknown_reason": ('400 {"reason":"NeverHeardOf"}', False),
    "html": ("502 <html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>", False),
    "empty_body": ("503", False),
    "broken_body": ('503 {"reason":"Serv', False),
    "split_body": ('503 {"reason":"ServiceUnavailable"} in 8 frames', False),
    "separate_end": ("200 in 1 frames", True),
    "late": ("late 200", True),
    "silence": ("silence", True),
    "missing_apns_id": ("200 apns-id missing", True),
    "upper_case_apns_id": ("200 apns-id in upper case", True),
    "another_apns_id": ("200 apns-id of another", True),
    "refused_stream": ("reset REFUSED_STREAM", False),
    "reset": ("reset INTERNAL_ERROR", True),
    "cancel": ("reset CANCEL", True),
    "stream_closed": ("reset STREAM_CLOSED", True),
    "goaway": ("200; GOAWAY 3; closed", True),
    "goaway_left_out": ("silence; GOAWAY 1; closed", False),
    "goaway_zero": ("silence; GOAWAY 0; closed", False),
    "goaway_two_step": ("200; GOAWAY 2147483647; GOAWAY 3; closed", True),
    "goaway_stays_open": ("200; GOAWAY 3", True),
    "goaway_error": ("200; GOAWAY 3 ENHANCE_YOUR_CALM; closed", True),
    "hang_up_before": ("silence; closed", True),
    "hang_up_unprocessed": ("silence; closed", False),
    "hang_up_halfway": ("silence; closed", True),
    "hang_up_after": ("200; closed", True),
    "one_stream": ("200 streams 1", True),
    "no_credit": ("200", True),
    "slow_reader": ("200", True),
}
#: Fault of a connection -> what a client sees of it.
MET = {
    "connection_reset": "ConnectionResetError",
    "connection_silent": "TimeoutError",
    "tls_untrusted": "self-signed certificate in certificate chain|unable to get local issuer certificate",
    "tls_wrong_host": "IP address mismatch",
    "tls_expired": "certificate has expired",
    "tls_no_alpn": "no ALPN, 200",
    "always_one_stream": "200 streams 1",
    "zero_window": "window 0",
    "no_header_table": "200 header table 0",
    "always_slow_reader": "200",
    "goaway_at_once": "silence; GOAWAY 0",
    **dict.fromkeys((name for name in FAULTS if name.startswith("hpack_")), "200"),
}


def start(apns: RunningSimulator, client: Client, token: str = PHONE) -> Reply:
    """Push without waiting."""
    return client.replies[client.start(apns.headers(device_token=token), PAYLOAD)]


def watch(client: Client, is_done: Callable[[], bool], within_s: float) -> bool:
    """Tell whether something comes to be so within a time; a connection that ends is no surprise here."""
    try:
        return client.receives(is_done, within_s)
    except (ConnectionError, ssl.SSLError):
        client.is_closed = True
        return is_done()


def words(client: Client, reply: Reply, stream_id: int) -> str:
    """Say what a client has seen of one push."""
    sizes = client.sizes.get(stream_id, [])
    parts = [f"{reply.status} {reply.body.decode()}".strip() if reply.is_whole else "silence"]
    if reply.reset is not None:
        parts = [f"reset {ErrorCodes(reply.reset).name}"]
    elif len(sizes) > 1 or sizes == [0]:
        parts[0] += f" in {len(sizes)} frames"
    parts[0] += "".join(f" {name} {value}" for name, value in reply.headers.items() if name == "retry-after")
    for goaway in client.goaways:
        code = ErrorCodes(int(goaway.error_code or 0))
        parts.append(f"GOAWAY {goaway.last_stream_id}{f' {code.name}' if code else ''}")
    return "; ".join([*parts, *(["closed"] if client.is_closed else [])])


def told(name: str, client: Client, reply: Reply, apns_id: str) -> str:
    """Say what shows only in the fault's own header or limit."""
    found = reply.headers.get("apns-id")
    if name.endswith("apns_id"):
        form = {None: "missing", apns_id.upper(): "in upper case"}.get(found, "of another")
        return "" if found == apns_id else f" apns-id {form}"
    return f" streams {client.max_streams}" if name.endswith("one_stream") else ""


def test_the_tables_of_this_module_are_whole() -> None:
    """Every fault has its row here."""
    assert set(FAULTS) == {*SEEN, *MET}


@pytest.mark.parametrize("name", SEEN)
def test_a_fault_of_a_request(name: str, apns: RunningSimulator) -> None:
    """A client sees what the row says, and the phone has the push exactly when Apple processed it; then all is well."""
    phone = apns.phone(PHONE)
    outcome, is_delivered = SEEN[name]

    with apns.connect() as client:
        assert client.ask(apns.headers(), PAYLOAD).status == 200
        apns.faults.add(name, times=1, device_token=PHONE)
        headers = apns.headers(device_token=PHONE)
        stream_id = client.start(headers, PAYLOAD)
        reply = client.replies[stream_id]
        is_prompt = watch(client, lambda: reply.is_whole, SHORT_S)
        if name == "late":
            assert not is_prompt
            outcome = outcome.removeprefix("late ")
            watch(client, lambda: reply.is_whole, 5)
        watch(client, lambda: client.is_closed, SHORT_S)
        seen = words(client, reply, stream_id) + told(name, client, reply, dict(headers)["apns-id"])

    assert outcome == seen
    assert is_delivered == bool(phone.received)
    with apns.connect() as client:
        assert client.ask(apns.headers(device_token=PHONE), PAYLOAD).status == 200


@pytest.mark.parametrize("name", MET)
def test_a_fault_of_a_connection(name: str, apns: RunningSimulator) -> None:
    """A client that connects meets what the row says; the next one meets a good connection."""
    apns.faults.add(name, times=1)

    met = meet(apns, name)

    assert met in MET[name].split("|")
    with apns.connect() as client:
        assert client.ask(apns.headers(), PAYLOAD).status == 200


def meet(apns: RunningSimulator, name: str) -> str:
    """Connect and push once, and say what came of it."""
    try:
        client = apns.connect(timeout_s=SHORT_S * 2)
    except ssl.SSLCertVerificationError as exc:
        return "IP address mismatch" if "IP address mismatch" in exc.verify_message else exc.verify_message
    except OSError as exc:
        return "ConnectionResetError" if isinstance(exc, ConnectionError | ssl.SSLError) else type(exc).__name__
    with client:
        watch(client, lambda: client.http2.remote_settings.max_concurrent_streams < 2**31, 5)
        if client.http2.remote_settings.initial_window_size == 0:
            return f"window {client.http2.local_flow_control_window(client.open(apns.headers()))}"
        if client.goaways:
            return f"silence; GOAWAY {client.goaways[0].last_stream_id}"
        reply = client.ask(apns.headers(), PAYLOAD)
        for _ in range(3):  # the dynamic table, if any is used, has to stay right
            assert client.ask(apns.headers(), PAYLOAD).status == 200
        table = " header table 0" if client.http2.remote_settings.header_table_size == 0 else ""
        alpn = "no ALPN, " if client.socket.selected_alpn_protocol() is None else ""
        return f"{alpn}{reply.status}{told(name, client, reply, '')}{table}"


@pytest.mark.parametrize("form", [form for form in Form if FORMS[form].fault is not None])
def test_a_device_token_may_carry_its_fault(form: Form, apns: RunningSimulator) -> None:
    """The form befalls its device token as often as it says, whoever sends; then the push is accepted."""
    token = special_device_token(form, 1, times=1)
    statuses = []

    for _ in range(2):
        with apns.connect() as client:
            reply = start(apns, client, token)
            watch(client, lambda reply=reply: reply.is_whole, 2)  # type: ignore[misc]
            watch(client, lambda client=client: client.is_closed, 0.05)  # type: ignore[misc]
            is_odd = reply.reset is not None or client.is_closed or "apns-id" not in reply.headers
            statuses.append((reply.status, is_odd))

    assert statuses[0] != (200, False) or form is Form.LATE
    assert statuses[1] == (200, False)


def test_a_rate_befalls_its_share(run: Run) -> None:
    """With a rate of 0.3 about three of ten requests fail, the same ones for the same seed."""
    shares = []
    for _ in range(2):
        apns = run(SimulatorSettings(device_burst=0, seed=7))
        apns.faults.add("service_unavailable", rate=0.3)
        with apns.connect() as client:
            shares.append([client.ask(apns.headers(), PAYLOAD).status for _ in range(100)])

    assert shares[0] == shares[1]
    assert 15 < shares[0].count(503) < 45


def test_a_script_goes_request_by_request(apns: RunningSimulator) -> None:
    """A script gives each request its own fate, and then leaves the rest alone."""
    apns.faults.script([None, "service_unavailable", Fault(answer=Answer(status=429, reason="TooManyRequests"))])

    with apns.connect() as client:
        statuses = [client.ask(apns.headers(), PAYLOAD).status for _ in range(5)]

    assert statuses == [200, 503, 429, 200, 200]


def test_a_script_has_no_place_for_connections(apns: RunningSimulator) -> None:
    """A fault of connections in a script is refused at once."""
    with pytest.raises(TypeError, match="faults of requests"):
        apns.faults.script(["tls_expired"])


def test_conditions_choose_the_requests(apns: RunningSimulator) -> None:
    """A rule may spare the first, end after some, ask the request, be removed, and all may be cleared."""
    skipping = apns.faults.add("internal_server_error", skip=1, times=1)
    apns.faults.add("too_many_requests", when=lambda request: request.header("apns-priority") == "5")

    with apns.connect() as client:
        first = [client.ask(apns.headers(), PAYLOAD).status for _ in range(3)]
        calm = client.ask(apns.headers(apns_priority="5"), PAYLOAD).status
        always = apns.faults.add("service_unavailable")
        down = client.ask(apns.headers(), PAYLOAD).status
        apns.faults.remove(always)
        removed = client.ask(apns.headers(), PAYLOAD).status
        apns.faults.clear()
        cleared = client.ask(apns.headers(apns_priority="5"), PAYLOAD).status

    assert first == [200, 500, 200]
    assert (calm, down, removed, cleared) == (429, 503, 200, 200)
    assert (skipping.hits, always.hits) == (1, 1)


def test_a_refused_push_stays_refused(apns: RunningSimulator) -> None:
    """A fault that gives an answer takes the place of a 200, never of Apple's own refusal."""
    apns.faults.add("service_unavailable")

    with apns.connect() as client:
        assert client.ask(apns.headers(apns_priority="7"), PAYLOAD).reason == "BadPriority"


def test_any_last_stream_id(apns: RunningSimulator) -> None:
    """A GOAWAY may name any stream: those up to it are answered, though the answers come later; the others are not."""
    with apns.connect() as client:
        client.ask(apns.headers(), PAYLOAD)
        apns.call(apns.simulator.switches.hold.set)
        replies = [start(apns, client, device_token(100 + number)) for number in range(4)]  # streams 3, 5, 7, 9
        apns.faults.add(Fault(goaway=Goaway(last_stream_id=5), is_processed=False), device_token=PHONE)
        replies.append(start(apns, client))
        client.receive_until(lambda: bool(client.goaways))
        apns.call(apns.simulator.switches.hold.clear)
        client.receive_until(lambda: client.is_closed)

    assert [reply.status for reply in replies] == [200, 200, 0, 0, 0]


def test_what_came_together_with_the_first_left_out_is_left_out_too(apns: RunningSimulator) -> None:
    """Of requests in one packet, those after the one that a GOAWAY leaves out are not processed either."""
    phone = apns.phone(PHONE)
    with apns.connect() as client:
        assert client.ask(apns.headers(), PAYLOAD).status == 200
        watch(client, lambda: client.max_streams > 2, 5)
        apns.faults.add("goaway_left_out", times=1, device_token=PHONE)
        for _ in range(2):
            stream_id = client.open(apns.headers(device_token=PHONE))
            client.http2.send_data(stream_id, PAYLOAD, end_stream=True)
        client.flush()
        watch(client, lambda: client.is_closed, 5)
        assert [goaway.last_stream_id for goaway in client.goaways] == [1]
    assert not phone.received


def test_a_closed_door_refuses_and_opens_again(apns: RunningSimulator) -> None:
    """While the door is closed a connection is refused by the system; those there go on; then it is the same port."""
    with apns.connect() as client:
        apns.wait_for(apns.simulator.close_door)
        with pytest.raises(ConnectionRefusedError):
            apns.connect()
        assert client.ask(apns.headers(), PAYLOAD).status == 200
        apns.wait_for(apns.simulator.open_door)

    with apns.connect() as client:
        assert client.ask(apns.headers(), PAYLOAD).status == 200


def test_hanging_up_cuts_all_connections(apns: RunningSimulator) -> None:
    """All connections end at once and without goodbye."""
    with apns.connect() as client:
        client.ask(apns.headers(), PAYLOAD)
        apns.call(apns.simulator.hang_up)

        assert not watch(client, lambda: bool(client.goaways), 5)
        assert client.is_closed


def test_latencies_spread_around_their_median(run: Run) -> None:
    """With a spread, half of the answers wait longer than the latency, and some of them much longer."""
    switches = run(SimulatorSettings(latency_s=0.1, latency_spread=0.5)).simulator.switches

    drawn = sorted(switches.draw_latency() for _ in range(1_000))

    assert 0.09 < drawn[500] < 0.11
    assert drawn[990] > 0.25
    assert len(set(drawn)) == 1_000


def test_every_hpack_form_is_another(apns: RunningSimulator) -> None:
    """The same answer takes another number of bytes in each form but two, so the forms do differ on the wire."""
    sizes = {}
    for form in HpackForm:
        apns.faults.clear()
        apns.faults.add(ConnectFault(hpack=form))
        with apns.connect() as client:
            client.ask(apns.headers(), PAYLOAD)
            client.received = 0
            client.ask(apns.headers(device_token=special_device_token(Form.BAD, 1)), PAYLOAD)
            sizes[form] = client.received

    assert len(set(sizes.values())) >= len(HpackForm) - 2
    assert sizes[HpackForm.INDEXED] < sizes[HpackForm.LITERAL]


def test_a_slow_reader_lets_the_sender_wait(apns: RunningSimulator) -> None:
    """While the server does not read, nothing is answered; then all of it."""
    with apns.connect() as client:
        apns.faults.add(Fault(read_pause_s=SHORT_S * 4), times=1)
        assert client.ask(apns.headers(), PAYLOAD).status == 200
        reply = start(apns, client)

        assert not client.receives(lambda: bool(reply.headers), SHORT_S)
        client.receive_until(lambda: reply.is_whole)


def test_credit_that_is_withheld_does_not_come(apns: RunningSimulator) -> None:
    """Without credit the connection's window only shrinks; with it, it is given back."""
    payload = b'{"aps":{"alert":"' + b"x" * 4_000 + b'"}}'
    left = {}

    for withheld in (False, True):
        apns.faults.add(Fault(withholds_window=withheld))
        with apns.connect() as client:
            for number in range(12):
                client.ask(apns.headers(device_token=device_token(200 + number)), payload)
            left[withheld] = client.http2.outbound_flow_control_window

    assert left[True] == 65_535 - 12 * len(payload)
    assert left[False] > left[True]
