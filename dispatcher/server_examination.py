"""Ask the servers of a configuration how they are set up, for whoever is about to trust them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis

from dispatcher.errors import StateServerError
from dispatcher.server_findings import Finding, Place, ServerReading, judge
from dispatcher.settings import Settings
from dispatcher.settings_urls import LOCAL_SCHEMES, scheme_of, state_url_of
from dispatcher.shard_servers import ShardServers
from dispatcher.state_connections import connect
from dispatcher.topology import topology_of


def examine(settings: Settings, *, timeout_s: float) -> list[Finding]:
    """Return what is wrong with the state server, and with the broker if it is a Redis of its own.

    A broker that does not answer is passed over: who needs it waits for it.

    Raises:
        StateServerError: The state server does not answer.
    """
    findings: list[Finding] = []
    for place, url in _places(settings):
        try:
            readings = [_read(server, timeout_s) for server in _servers(url, timeout_s)]
        except redis.RedisError as exc:
            if place is Place.BROKER or isinstance(exc, redis.exceptions.NoPermissionError):
                continue
            raise StateServerError(f"the state server does not answer ({type(exc).__name__})") from exc
        found = (judge(reading, place, production=settings.is_production) for reading in readings)
        findings += dict.fromkeys(finding for of_one in found for finding in of_one)
    return findings


def _places(settings: Settings) -> Iterator[tuple[Place, str]]:
    state_url = settings.state_url.get_secret_value()
    yield Place.STATE, state_url
    broker_url = state_url_of(settings.broker_url.get_secret_value())
    if broker_url is not None and _address(broker_url) != _address(state_url):
        yield Place.BROKER, broker_url


def _servers(url: str, timeout_s: float) -> tuple[str, ...]:
    """Return every server that an address stands for at present."""

    def ask(guide: str) -> redis.Redis:
        return _client(guide, timeout_s)

    return ShardServers(topology_of(url), connect=ask, ask=ask).addresses(search_s=timeout_s)


def _address(url: str) -> tuple[Any, ...]:
    parts = urlsplit(url)
    return (parts.path,) if scheme_of(url) in LOCAL_SCHEMES else (parts.netloc.rpartition("@")[2],)


def _read(url: str, timeout_s: float) -> ServerReading:
    with _client(url, timeout_s) as client:
        info: Any = client.info()
    return ServerReading.of_info(info, answers_strangers=_answers_strangers(url, timeout_s))


def _answers_strangers(url: str, timeout_s: float) -> bool | None:
    """Ask without credentials; a socket of this machine is guarded by its file's mode instead."""
    if scheme_of(url) in LOCAL_SCHEMES:
        return None
    with _client(url, timeout_s) as client:
        for credential in ("username", "password"):
            client.connection_pool.connection_kwargs.pop(credential, None)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _client(url: str, timeout_s: float) -> redis.Redis:
    return connect(url, timeout_s, timeout_s, name=None)
