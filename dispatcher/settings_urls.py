"""Addresses of brokers, state servers and APNs: which are understood, and how to show them without passwords."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from dispatcher.server_urls import UNREADABLE
from dispatcher.topology import TOPOLOGIES, parse_sentinel, topology_of

#: Several brokers in one address, as kombu writes them; a password may hold a semicolon.
_NEXT_BROKER: Final = re.compile(r";(?=[A-Za-z0-9+]+://)")

_USER_AND_PASSWORD: Final = re.compile(r"^(?P<scheme>[^:/]*://)?(?:(?P<user>[^:@]*):)?(?P<secret>.*)@", re.DOTALL)
_PASSWORD_IN_QUERY: Final = re.compile(r"(?<=[?&])(?P<name>\w*password)=[^&]*", re.IGNORECASE)

#: kombu's spelling of a choice that redis-py writes without prefix and in lower case.
_CERT_CHOICE: Final = re.compile(r"(CERT_)?(?i:required|optional|none)")
_CERT_REQS: Final = re.compile(r"(?<=[?&]ssl_cert_reqs=)CERT_(?P<choice>\w+)")


def _same_server(broker_url: str) -> str:
    return _CERT_REQS.sub(lambda found: found["choice"].lower(), broker_url)


def _same_socket(broker_url: str) -> str:
    url = urlsplit(broker_url)
    # kombu takes the database from virtual_host, redis-py from db.
    database = parse_qs(url.query).get("virtual_host", ["0"])[0].strip("/")
    return f"unix://{url.netloc}{url.path}?db={database}"


def _same(broker_url: str) -> str:
    return broker_url


def _none(_broker_url: str) -> None:
    return None


#: Scheme of the broker -> how its server is reached as state server; None when it cannot be one.
BROKER_SCHEMES: Final[Mapping[str, Callable[[str], str | None]]] = {
    "redis": _same_server,
    "rediss": _same_server,
    "redis+socket": _same_socket,
    "sentinel": _same,
    "sentinels": _same,
    "amqp": _none,
    "amqps": _none,
}
#: Schemes of a socket of this machine.
LOCAL_SCHEMES: Final = ("redis+socket", "unix")
#: Scheme in plaintext -> the same over TLS.
SECURE_SCHEMES: Final[Mapping[str, str]] = {
    "redis": "rediss",
    "sentinel": "sentinels",
    "redis+cluster": "rediss+cluster",
    "amqp": "amqps",
}
#: Why a state server cannot be a broker, if people try.
_NO_BROKERS: Final = dict.fromkeys(
    ("redis+cluster", "rediss+cluster"),
    "is a cluster, which Celery cannot use as a broker; write it to APNS_STATE_URL and give Celery another server",
)
STATE_SCHEMES: Final = tuple(TOPOLOGIES)
#: Files for TLS to RabbitMQ, as its address names them -> as py-amqp names them.
AMQP_TLS_OPTIONS: Final[Mapping[str, str]] = {
    "ssl_ca_certs": "ca_certs",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
}
#: Scheme of the broker -> what may stand behind a question mark, where that is not whatever kombu takes.
_BROKER_OPTIONS: Final[Mapping[str, frozenset[str]]] = {"amqp": frozenset(), "amqps": frozenset(AMQP_TLS_OPTIONS)}


def masked_url(url: str) -> str:
    """Return an address fit for a log or an error: passwords are replaced by `***`.

    A lone word before the host is taken for a password too, since people forget the colon.
    """
    return ";".join(_masked(part) for part in _NEXT_BROKER.split(url))


def state_url_of(broker_url: str) -> str | None:
    """Return the address of the broker's server as a state server, or None when it cannot be one."""
    if len(_NEXT_BROKER.split(broker_url)) > 1:
        return None
    return BROKER_SCHEMES[scheme_of(broker_url)](broker_url)


def broker_urls(url: str) -> list[str]:
    """Return the address of each broker of a list."""
    return _NEXT_BROKER.split(url)


def scheme_of(url: str) -> str:
    """Return the scheme in lower case; empty when there is none."""
    scheme, separator, _rest = url.partition("://")
    return scheme.lower() if separator else ""


def checked_broker_url(url: str) -> str:
    """Return the address of a broker, or of several separated by semicolons.

    Raises:
        ValueError: It cannot be understood. Never shows the address: it may hold a password.
    """
    parts = broker_urls(url)
    for part in parts:
        _check_broker(part)
        _check_options(part)
    if len({scheme_of(part) for part in parts}) > 1:
        raise ValueError("must name brokers of one kind, with the same scheme")
    return url


def checked_state_url(url: str) -> str:
    """Return the address of a state server.

    Raises:
        ValueError: It cannot be understood. Never shows the address: it may hold a password.
    """
    topology_of(url)
    _check_certificates(url)
    return url


def checked_endpoint(url: str) -> str:
    """Return the address of APNs or its stand-in, without a trailing slash.

    Raises:
        ValueError: It is not https, has no host, or holds more than host and port.
    """
    parts = urlsplit(url)
    beyond = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "https" or not parts.hostname or parts.port == 0 or beyond:
        raise ValueError("must be https://HOST or https://HOST:PORT")
    return url.rstrip("/")


def checked_proxy(url: str) -> str:
    """Return the address of an HTTP proxy, without a trailing slash.

    Raises:
        ValueError: It is not http, lacks host or port, or holds more, such as a password.
    """
    parts = urlsplit(url)
    beyond = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "http" or not parts.hostname or not parts.port or beyond:
        raise ValueError("must be http://HOST:PORT")
    return url.rstrip("/")


def _check_broker(url: str) -> None:
    scheme = scheme_of(url)
    if scheme in _NO_BROKERS:
        raise ValueError(_NO_BROKERS[scheme])
    if scheme not in BROKER_SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{known}://' for known in BROKER_SCHEMES)}")
    BROKER_CHECKS.get(scheme, _check_port)(url)


def _check_port(url: str) -> None:
    try:
        _port = urlsplit(url).port
    except ValueError as exc:
        # urllib quotes what it took for the port, and that is the password when it holds an unescaped slash.
        raise ValueError(UNREADABLE) from exc
    _check_certificates(url)


def _check_certificates(url: str) -> None:
    for choice in parse_qs(urlsplit(url).query).get("ssl_cert_reqs", ()):
        if not _CERT_CHOICE.fullmatch(choice):
            raise ValueError("has an ssl_cert_reqs other than required, optional and none")


#: Scheme of the broker -> what looks whether its address can be understood, where that is more than a host and a port.
BROKER_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "sentinel": parse_sentinel,
    "sentinels": parse_sentinel,
}


def _check_options(url: str) -> None:
    known = _BROKER_OPTIONS.get(scheme_of(url))
    if known is not None and not parse_qs(urlsplit(url).query, keep_blank_values=True).keys() <= known:
        raise ValueError(f"may have {'only the options ' + ', '.join(sorted(known)) if known else 'no options'}")


def _masked(url: str) -> str:
    without_password = _USER_AND_PASSWORD.sub(_without_secret, url)
    return _PASSWORD_IN_QUERY.sub(r"\g<name>=***", without_password)


def _without_secret(found: re.Match[str]) -> str:
    user = f"{found['user']}:" if found["user"] is not None else ""
    return f"{found['scheme'] or ''}{user}***@"
