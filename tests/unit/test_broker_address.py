"""Celery is told in kombu's words where its broker is."""

from __future__ import annotations

import ssl

import pytest
from kombu import Connection
from kombu.transport import redis as kombu_redis

from dispatcher.broker_address import broker_address


@pytest.mark.parametrize("url", ["redis://:pw@host:6380/3", "redis+socket:///x", "amqp://one;amqp://two"])
def test_most_addresses_are_kombus_own(url: str) -> None:
    """They are left alone, and need nothing else."""
    address = broker_address(url, timeout_s=2.0)
    assert (address.url, dict(address.transport_options), address.use_ssl) == (url, {}, False)


def test_sentinels_in_kombus_words() -> None:
    """Each is an address of its own; the master's name and their password are options."""
    url = "sentinel://web:p%40ss@one,two:26380/2?master=apns&sentinel_password=w%2Fatch"
    address = broker_address(url, timeout_s=2.0)
    assert address.url == "sentinel://web:p%40ss@one:26379/2;sentinel://web:p%40ss@two:26380/2"
    assert address.transport_options == {
        "master_name": "apns",
        "sentinel_kwargs": {
            "username": None,
            "password": "w/atch",
            "socket_connect_timeout": 2.0,
            "socket_timeout": 2.0,
            "ssl": False,
        },
    }
    assert address.use_ssl is False


def test_sentinels_over_tls() -> None:
    """Sentinels and master are reached over TLS, and their certificates are checked unless the address says no."""
    address = broker_address("sentinels://one?master=apns&ssl_ca_certs=%2Fca.pem", timeout_s=2.0)
    verified = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert address.use_ssl == {**verified, "ssl_ca_certs": "/ca.pem"}
    assert address.transport_options["sentinel_kwargs"].items() >= {"ssl": True, **address.use_ssl}.items()
    unchecked = broker_address("sentinels://one?master=apns&ssl_cert_reqs=none", timeout_s=2.0)
    assert unchecked.use_ssl == {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}


def test_kombu_understands_it() -> None:
    """It takes the address for Sentinel's, with every Sentinel, database, user and password of it."""
    address = broker_address("sentinel://web:p%40ss@one,two:26380/2?master=apns", timeout_s=2.0)
    connection = Connection(address.url, transport_options=dict(address.transport_options))
    assert connection.get_transport_cls() is kombu_redis.SentinelTransport
    assert (connection.userid, connection.password, connection.virtual_host) == ("web", "p@ss", "2")
    assert len(connection.alt) == 2
