"""With a key, nothing that lies in the state server or passes through it shows a device token or a payload."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, Settings, ids, redis_keys, routing
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.notification import Report
from dispatcher.push_types import Lane
from dispatcher.sealing_choice import make_sealing
from tests.conductor.conftest import APP, Bench
from tests.conductor.scripted_transport import BUSY, UNREGISTERED

DEVICE_TOKENS: Final = tuple(bytes([0xCA, 0xFE, number] * 10 + [number, 0xBE]).hex() for number in range(17, 25))
WORDS: Final = "a-canary-in-the-payload"
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")
OWN_ID: Final = "123e4567-e89b-42d3-a456-426614174000"


def spellings() -> list[bytes]:
    """Return every form in which a canary could lie somewhere."""
    forms = [WORDS.encode(), WORDS.encode().hex().encode()]
    # Base64 shows the same bytes in three forms, by their place among others.
    forms += [b64encode(b"x" * shift + WORDS.encode())[4:-4] for shift in range(3)]
    for device_token in DEVICE_TOKENS:
        raw = bytes.fromhex(device_token)
        forms += [raw, device_token.encode(), device_token.upper().encode()]
        forms += [b64encode(bytes(shift) + raw)[4:-4] for shift in range(3)]
    return forms


def found_in(content: bytes) -> list[bytes]:
    """Return the canaries in something."""
    return [form for form in spellings() if form in content]


class Monitor:
    """Everything that clients say to a server, as it says it."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._marker = "the-monitor-ends-here"
        self.commands: list[bytes] = []
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self._listening.wait(5)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]
            self._listening.set()
            for command in monitor.listen():
                self.commands.append(_unescaped(command["command"]))
                if self._marker in command["command"]:
                    return

    def end(self) -> bytes:
        """Stop listening; return all of it."""
        self._client.echo(self._marker)
        self._thread.join(5)
        self._client.close()
        return b"\n".join(self.commands)


def _unescaped(command: str) -> bytes:
    """Return a command as it was sent: what cannot be printed is shown by its number."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), command.encode())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Return a state server whose files can be looked at."""
    with EmbeddedServer(tmp_path / "state") as running:
        yield running


async def live(bench: Bench, push: Dispatcher) -> None:
    """Let notifications live and end in every way there is."""
    worker = await bench.worker()
    one, two, three, four, five, six, seven, eight = DEVICE_TOKENS
    loud: Any = {"report": Report.EVERYTHING, "track": True}
    worker.transport.script([two], UNREGISTERED)
    worker.transport.script([three], BUSY)
    apns_ids = [
        push.alert(APP, one, body=WORDS, collapse_id="news", **loud).apns_id,
        push.alert(APP, two, body=WORDS, apns_id=OWN_ID, **loud).apns_id,
        push.alert(APP, three, body=WORDS, idempotency_key="one", **loud).apns_id,
        push.alert(APP, four, body=WORDS, expires_in=1, **loud).apns_id,
    ]
    push.alert(APP, three, body=WORDS, idempotency_key="one", **loud)
    bulk = push.send_many(APP, DEVICE_TOKENS, payload={"aps": {"alert": WORDS}}, push_type="alert", **loud)
    apns_ids += [batch.batch_id for batch in bulk.batches]
    later = push.alert(APP, five, body=WORDS, send_at=_soon(bench), **loud)
    push.cancel(later.apns_id)
    push.alert(APP, six, body=WORDS, send_at=_soon(bench), **loud)
    for number in range(3):
        push.background(APP, seven, {"n": number, "words": WORDS}, **loud)
        push.background(APP, three, {"n": number, "words": WORDS}, idempotency_key=f"update {number}", **loud)
    push.background(APP, eight, {"words": WORDS}, hold_for=3600, **loud)
    push.background(APP, two, {"words": WORDS}, expires_in=1, **loud)
    bench.advance(2)
    for _ in range(10):
        for apns_id in apns_ids:
            await worker.deliver(apns_id)
        for shard in range(ids.SHARDS):
            await worker.deliver(routing.wake_up_id(APP, shard), lane=Lane.BACKGROUND)
        bench.advance(5000)
    push.background(APP, one, {"words": WORDS}, **loud)
    push.background(APP, one, {"words": WORDS}, **loud)
    push.device_online(APP, eight)
    push.alert(APP, one, body=WORDS, **loud)
    sent = {request.device_token for request in worker.transport.requests}
    assert {one, two, three, seven} <= sent, "the canaries were really there"


def _soon(bench: Bench) -> float:
    """Return an hour from now, by the state server."""
    seconds, _ = bench.redis.time()
    return float(seconds + 3600 + bench.monotonic.ahead_s)


def outcomes(push: Dispatcher) -> set[str]:
    """Read all feedback, and return how notifications ended."""
    reader = push.feedback("web")
    told = reader.read(count=1000)
    assert {feedback.device_token for feedback in told} <= set(DEVICE_TOKENS)
    return {feedback.outcome.value for feedback in told}


def dumps(client: Any) -> bytes:
    """Return every key with its content, as the server would write it to disk and uncompressed."""
    content = []
    for key in client.keys("*"):
        content += [key, client.dump(key)]
        kind = client.type(key)
        if kind == b"string":
            content.append(client.get(key))
        elif kind == b"hash":
            content += [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == b"stream":
            content += [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair]
        elif kind == b"zset":
            content += client.zrange(key, 0, -1)
        elif kind == b"list":
            content += client.lrange(key, 0, -1)
    return b"\n".join(content)


@pytest.mark.parametrize("keys", [None, "plain"], ids=["sealed", "plain"])
async def test_no_canary_lies_in_the_state_server(
    server: EmbeddedServer, env: dict[str, str], tmp_path: Path, keys: str | None
) -> None:
    """No key, no command and no file of the server shows any; without encryption the same search finds them all."""
    ours = {**env, "APNS_BROKER_URL": server.url, **({"APNS_RECORD_KEYS": keys} if keys else {})}
    monitor = Monitor(server.url)
    with redis.Redis.from_url(server.url) as client, Dispatcher(Settings.from_env(ours)) as push:
        bench = Bench(server.url, client)
        bench.sealing = make_sealing(Settings.from_env(ours).record_keys)
        try:
            await live(bench, push)
            told = outcomes(push)
            with DeadLetters(Settings.from_env(ours)) as letters:
                buried = list(letters.find(Wanted()))
                letters.replay(buried[0])
        finally:
            await bench.state.close()
            said = monitor.end()
        kept = dumps(client)
        client.config_set("appendfsync", "always")
        client.set("last", "write")
    written = b"".join(file.read_bytes() for file in sorted((tmp_path / "state").rglob("*.aof")))
    assert {"delivered", "unregistered", "dead_lettered", "expired", "cancelled", "superseded"} <= told
    assert {letter.device_token for letter in buried} == {DEVICE_TOKENS[2]}
    assert redis_keys.PREFIX.encode() in written
    if keys is None:
        assert [found_in(content) for content in (said, kept, written)] == [[], [], []]
    else:
        assert all(WORDS.encode() in content for content in (said, kept, written))
        assert all(DEVICE_TOKENS[0].encode() in content for content in (said, kept, written))
