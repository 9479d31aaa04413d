"""The server behind `rediss://` is who it says it is, or nobody talks to it: state server and broker, all of us."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, EnqueueError, Lane, Settings
from dispatcher.dev import programs
from dispatcher.dev.simulator.certificates import CA_FILE, open_tls_context
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.simulator.faults import TlsFault
from dispatcher.messages import Publisher, make_celery
from dispatcher.sweeping import Message
from tests.chaos.proxy import HOST, Proxy
from tests.outages.conftest import APP, port_of
from tests.running_fleet import Fleet

MESSAGE: Final = Message(queue="apns.alert", batch_id="nobody", summary="test")
#: What is wrong -> what the server shows, and whether our side trusts the authority of these tests.
WRONG: Final = {
    "unknown authority": (None, False),
    "another authority": (TlsFault.UNTRUSTED, True),
    "another host": (TlsFault.WRONG_HOST, True),
    "expired": (TlsFault.EXPIRED, True),
}
StartTls = Callable[..., str]


class TlsProxy(Proxy):
    """A proxy whose clients' side is TLS."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._context = context

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]


@pytest.fixture
def start_tls(tmp_path: Path) -> Iterator[StartTls]:
    """Return a function that puts TLS before a server; it returns the address, with our authority or not."""
    directory = tmp_path / "tls"
    directory.mkdir()
    with ExitStack() as proxies:

        def start(server_url: str, fault: TlsFault | None = None, *, is_trusted: bool = True) -> str:
            context = open_tls_context(directory, fault)
            proxy = proxies.enter_context(TlsProxy(HOST, port_of(server_url), context))
            query = f"?ssl_ca_certs={directory / CA_FILE}" if is_trusted else ""
            return f"rediss://{HOST}:{proxy.port}/0{query}"

        yield start


def test_a_whole_fleet_over_tls(fleet: Fleet, start_tls: StartTls) -> None:
    """With `ssl_ca_certs` in one address, producer, publisher and worker reach broker and state server."""
    url = start_tls(fleet.stack.server.url)
    fleet.stack.worker_env = {"APNS_BROKER_URL": url}
    fleet.stack.start_worker(Lane.ALERT)
    with Dispatcher(Settings.from_env({**fleet.stack.env, "APNS_BROKER_URL": url})) as push:
        receipts = [push.alert(APP, device_token(number), title="hi") for number in range(5)]
    assert all(receipt.queued for receipt in receipts)
    fleet.wait_until_settled()
    assert fleet.seen() == {receipt.apns_id: 1 for receipt in receipts}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_producer_trusts_nobody_else(
    env: dict[str, str], state: redis.Redis, start_tls: StartTls, wrong: str
) -> None:
    """A wrong certificate of the state server is a refusal, that of the broker leaves the notification to the sweep."""
    fault, is_trusted = WRONG[wrong]
    server_url = env["APNS_BROKER_URL"]
    url = start_tls(server_url, fault, is_trusted=is_trusted)
    with Dispatcher(Settings.from_env({**env, "APNS_STATE_URL": url})) as push, pytest.raises(EnqueueError):
        push.alert(APP, device_token(1), title="hi")
    assert not state.keys("apns:*")
    as_broker = {**env, "APNS_BROKER_URL": url, "APNS_STATE_URL": server_url}
    with Dispatcher(Settings.from_env(as_broker)) as push:
        assert not push.alert(APP, device_token(1), title="hi").queued
    assert not state.exists("apns.alert")


def test_only_who_asks_for_it_trusts_anybody(env: dict[str, str], start_tls: StartTls) -> None:
    """The test servers' certificates are wrong and nothing else is: with `ssl_cert_reqs=none` they are taken."""
    unverified = start_tls(env["APNS_BROKER_URL"], TlsFault.WRONG_HOST, is_trusted=False) + "?ssl_cert_reqs=none"
    with Dispatcher(Settings.from_env({**env, "APNS_BROKER_URL": unverified})) as push:
        assert push.alert(APP, device_token(1), title="hi").queued


@pytest.mark.parametrize("wrong", ["another host"])
def test_a_worker_takes_no_message_from_anybody_else(
    fleet: Fleet, start_tls: StartTls, tmp_path: Path, wrong: str
) -> None:
    """A worker whose broker shows a wrong certificate says so, and leaves the messages to others."""
    fault, is_trusted = WRONG[wrong]
    url = start_tls(fleet.stack.server.url, fault, is_trusted=is_trusted)
    fleet.push.alert(APP, device_token(1), title="hi")
    worker = start_worker(fleet, tmp_path, {"APNS_BROKER_URL": url, "APNS_STATE_URL": fleet.stack.server.url})
    fleet.wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in worker.log.read_text(encoding="utf-8"))
    assert fleet.state.llen("apns.alert") == 1
    worker.kill()


def test_a_worker_does_not_start_on_another_state_server(fleet: Fleet, start_tls: StartTls, tmp_path: Path) -> None:
    """A worker whose state server shows a wrong certificate ends with one line that says so."""
    url = start_tls(fleet.stack.server.url, TlsFault.WRONG_HOST)
    worker = start_worker(fleet, tmp_path, {"APNS_STATE_URL": url})
    fleet.wait_for(lambda: not worker.is_running)
    assert worker.exit_code == 2
    (refusal,) = [line for line in worker.last_lines(50) if "worker_start_refused" in line]
    assert "APNS_STATE_URL" in refusal


def test_a_publisher_is_told_by_its_address_alone(state_url: str, start_tls: StartTls) -> None:
    """Without a word about verification an address means all of it, as for redis-py; kombu would verify nothing."""
    publisher = Publisher(make_celery(start_tls(state_url, is_trusted=False), timeout_s=2.0))
    assert not publisher.publish(MESSAGE)
    publisher.close()
    publisher = Publisher(make_celery(start_tls(state_url), timeout_s=2.0))
    assert publisher.publish(MESSAGE)
    publisher.close()


def start_worker(fleet: Fleet, directory: Path, variables: dict[str, str]) -> Any:
    """Start a worker that is not expected to become ready."""
    env = programs.environment({**fleet.stack.env, **variables})
    command = programs.worker(Lane.ALERT, 1)
    return fleet.stack._guard.start("worker", command, log=directory / "log", env=env, directory=directory)  # noqa: SLF001
