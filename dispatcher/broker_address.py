"""How Celery is told where its broker is: kombu spells some addresses in another way than we do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from dispatcher.settings_urls import AMQP_TLS_OPTIONS, broker_urls, scheme_of
from dispatcher.topology import SENTINELS_PASSWORD, SENTINELS_USER, parse_sentinel, servers_query

_CHOICES: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """A broker in kombu's words.

    Attributes:
        url: Its address, or several separated by semicolons.
        transport_options: What cannot stand there.
        use_ssl: Arguments of a connection over TLS; False where there is none, or the address says it.
    """

    url: str
    transport_options: Mapping[str, Any] = field(default_factory=dict)
    use_ssl: dict[str, Any] | Literal[False] = False

    def conf(self, transport_options: Mapping[str, Any]) -> dict[str, Any]:
        """Return Celery's settings for where the broker is and how it proves that, with these options of transport."""
        return {
            "broker_url": self.url,
            "broker_use_ssl": self.use_ssl,
            "broker_transport_options": {**transport_options, **self.transport_options},
        }


def broker_address(url: str, *, timeout_s: float) -> BrokerAddress:
    """Return where a broker is.

    Args:
        url: As it is configured.
        timeout_s: How long to wait for those who are asked where it is.
    """
    return _SPELLINGS.get(scheme_of(url), _as_it_is)(url, timeout_s)


def _as_it_is(url: str, _timeout_s: float) -> BrokerAddress:
    return BrokerAddress(url=url)


def _sentinel(url: str, timeout_s: float) -> BrokerAddress:
    group = parse_sentinel(url)
    use_ssl: dict[str, Any] | Literal[False] = False
    if scheme_of(url) == "sentinels":
        use_ssl = _ssl_arguments(servers_query(group))
    # These are not the servers' own: a Sentinel has its own password, and no name for the client.
    of_sentinels = {
        "username": unquote(group.query.get(SENTINELS_USER, "")) or None,
        "password": unquote(group.query.get(SENTINELS_PASSWORD, "")) or None,
        "socket_connect_timeout": timeout_s,
        "socket_timeout": timeout_s,
        "ssl": bool(use_ssl),
        **(use_ssl or {}),
    }
    return BrokerAddress(
        url=";".join(group.server("sentinel", host, query={}) for host in group.hosts),
        transport_options={"master_name": unquote(group.query["master"]), "sentinel_kwargs": of_sentinels},
        use_ssl=use_ssl,
    )


def _over_tls(url: str, _timeout_s: float) -> BrokerAddress:
    # Of several brokers the first says how all are verified: kombu knows one set of arguments.
    first = broker_urls(url)[0]
    query = {name: values[-1] for name, values in parse_qs(urlsplit(first).query).items()}
    return BrokerAddress(url=url, use_ssl=_ssl_arguments(query))


def _rabbitmq_over_tls(url: str, _timeout_s: float) -> BrokerAddress:
    # kombu hands options of the address to py-amqp under names that it does not know.
    parts = [urlsplit(part) for part in broker_urls(url)]
    given = [dict(parse_qsl(part.query)) for part in parts]
    options = {AMQP_TLS_OPTIONS[name]: value for query in reversed(given) for name, value in query.items()}
    return BrokerAddress(
        url=";".join(part._replace(query="").geturl() for part in parts),
        # None: the name of the host that is connected to; without this entry no name is verified.
        use_ssl={"server_hostname": None, **options},
    )


def _ssl_arguments(query: Mapping[str, str]) -> dict[str, Any]:
    """Return what an address says of TLS; certificate and name are verified, unless it says otherwise."""
    said: dict[str, Any] = {name: unquote(value) for name, value in query.items() if name.startswith("ssl_")}
    choice = str(said.get("ssl_cert_reqs", "required")).lower().removeprefix("cert_")
    name_matters = str(said.get("ssl_check_hostname", "true")).lower() != "false"
    return {**said, "ssl_cert_reqs": _CHOICES[choice], "ssl_check_hostname": name_matters and choice != "none"}


_SPELLINGS: Final[Mapping[str, Callable[[str, float], BrokerAddress]]] = {
    "amqps": _rabbitmq_over_tls,
    "rediss": _over_tls,
    "sentinel": _sentinel,
    "sentinels": _sentinel,
}
