"""What is sent is what was asked for, and every answer is read, whatever its shape."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.conftest import Stage, push
from tests.contract.scripted_server import Script, SeenRequest, ServerConnection
from workers.transport.port import ApnsAnswer


def answering(status: int, *parts: bytes, **headers: str) -> Script:
    """Return a script that answers every request alike."""

    def answer(connection: ServerConnection, seen: SeenRequest) -> None:
        connection.answer(seen.stream_id, status, *parts, **headers)

    return Script(on_request=answer)


@pytest.mark.parametrize(
    ("expiration", "collapse_id"), [(None, None), (0, "score"), (1_900_000_000, "Spielstand \N{SOCCER BALL}")]
)
async def test_request_is_sent_as_asked(stage: Stage, expiration: int | None, collapse_id: str | None) -> None:
    """Headers and payload arrive unchanged: expiration 0 is 0, an absent one stays absent, no byte is re-encoded."""
    payload = b'{ "aps" : {"alert":"\\u00e4 \xc3\xa4"} }\n'
    async with stage.server() as server, stage.transport(server.url) as transport:
        request = push(expiration=expiration, collapse_id=collapse_id, payload=payload, push_type="widgets", priority=5)
        assert await transport.send(request) == ApnsAnswer(status=200)
    (seen,) = server.requests
    expected = {
        ":method": "POST",
        ":scheme": "https",
        ":path": "/3/device/" + request.device_token,
        ":authority": server.url.removeprefix("https://"),
        "authorization": "bearer secret-KEYID12345-1800000000",
        "apns-id": request.apns_id,
        "apns-topic": "com.example.app",
        "apns-push-type": "widgets",
        "apns-priority": "5",
    }
    if expiration is not None:
        expected["apns-expiration"] = str(expiration)
    if collapse_id is not None:
        expected["apns-collapse-id"] = collapse_id
    assert seen.headers == expected
    assert seen.body == payload


async def test_empty_payload_ends_the_request(stage: Stage) -> None:
    """A push without payload reaches APNs, which is the one to refuse it."""
    async with stage.server() as server, stage.transport(server.url) as transport:
        assert (await transport.send(push(payload=b""))).is_accepted
    assert server.requests[0].is_whole


async def test_refusal_is_an_answer(stage: Stage) -> None:
    """Reason, timestamp and Retry-After of a refusal are handed on."""
    body = b'{"reason":"Unregistered","timestamp":1700000000000}'
    script = answering(410, body, retry_after="7")
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        answer = await transport.send(push())
    assert answer == ApnsAnswer(status=410, reason="Unregistered", unregistered_at=1_700_000_000_000, retry_after_s=7.0)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        pytest.param((b'{"reason":', b'"BadTopic"', b"}"), "BadTopic", id="split"),
        pytest.param((), "", id="empty"),
        pytest.param((b"<html>Bad Gateway</html>",), "", id="html"),
        pytest.param((b"[1]",), "", id="no object"),
        pytest.param((b'{"reason":7,"timestamp":"x"}',), "", id="wrong types"),
        pytest.param((b"\xff\xfe",), "", id="no text"),
        pytest.param((b"[" * 100_000,), "", id="bottomless"),
    ],
)
async def test_body_of_any_shape_is_read(stage: Stage, parts: tuple[bytes, ...], reason: str) -> None:
    """A body in pieces is put together; one that cannot be read leaves the reason empty and the status stands."""
    async with stage.server(answering(400, *parts)) as server, stage.transport(server.url) as transport:
        assert await transport.send(push()) == ApnsAnswer(status=400, reason=reason)
        assert (await transport.send(push())).status == 400


@pytest.mark.parametrize("headers", [{}, {"apns_id": push().apns_id.upper()}, {"apns_id": "another"}])
@pytest.mark.parametrize("status", [200, 400])
async def test_answer_belongs_to_its_stream(stage: Stage, headers: dict[str, str], status: int) -> None:
    """An answer is matched by its stream: apns-id may be missing, in upper case, or another."""
    async with stage.server(answering(status, **headers)) as server, stage.transport(server.url) as transport:
        assert (await transport.send(push())).status == status


async def test_answers_out_of_order_reach_their_pushes(stage: Stage) -> None:
    """Answers that come back in another order than the pushes went out reach the push they belong to."""
    held: list[SeenRequest] = []

    def hold_seven(connection: ServerConnection, seen: SeenRequest) -> None:
        if seen.stream_id == 1:
            connection.answer(seen.stream_id, 200)
            return
        held.append(seen)
        if len(held) == 7:
            for late in reversed(held):
                connection.answer(late.stream_id, 400, b'{"reason":"%s"}' % late.body)

    async with stage.server(Script(on_request=hold_seven)) as server, stage.transport(server.url) as transport:
        await transport.send(push())
        answers = await asyncio.gather(*(transport.send(push(payload=b"%d" % number)) for number in range(7)))
    assert [answer.reason for answer in answers] == [str(number) for number in range(7)]


async def test_error_bodies_are_acknowledged(stage: Stage) -> None:
    """More bytes of error bodies than one flow control window holds do not silence the connection."""
    body = b'{"reason":"Unregistered","padding":"' + b"x" * 2000 + b'"}'
    async with stage.server(answering(410, body)) as server, stage.transport(server.url) as transport:
        answers = await asyncio.gather(*(transport.send(push()) for _ in range(100)))
    assert {answer.reason for answer in answers} == {"Unregistered"}
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("retry_after", "retry_after_s"),
    [
        ("0", 0.0),
        ("Fri, 15 Jan 2027 08:12:00 GMT", 120.0),
        ("Thu, 14 Jan 2027 08:12:00 GMT", 0.0),
        ("99999999999", 86_400.0),
        ("Fri, 15 Jan 2100 08:12:00 GMT", 86_400.0),
        ("soon", None),
        ("-5", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(stage: Stage, retry_after: str, retry_after_s: float | None) -> None:
    """Retry-After counts in both its forms, up to a day; what is neither is no Retry-After."""
    script = answering(503, retry_after=retry_after)
    async with stage.server(script) as server, stage.transport(server.url) as transport:
        assert (await transport.send(push())).retry_after_s == retry_after_s
