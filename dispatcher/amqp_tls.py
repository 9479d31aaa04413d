"""TLS to RabbitMQ: the server's certificate and name are always verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from dispatcher.settings_urls import AMQP_TLS_OPTIONS, broker_urls, scheme_of


def _rabbitmq_tls(broker_url: str) -> dict[str, Any]:
    # kombu hands options of the address to py-amqp under names that it does not know.
    parts = [urlsplit(part) for part in broker_urls(broker_url)]
    given = [dict(parse_qsl(part.query)) for part in parts]
    options = {AMQP_TLS_OPTIONS[name]: value for query in reversed(given) for name, value in query.items()}
    return {
        "broker_url": ";".join(part._replace(query="").geturl() for part in parts),
        # None: the name of the host that is connected to; without this entry no name is verified.
        "broker_use_ssl": {"server_hostname": None, **options},
    }


_TLS: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {"amqps": _rabbitmq_tls}


def connecting(broker_url: str) -> dict[str, Any]:
    """Return Celery's settings for where the broker is, and how it proves that."""
    tls = _TLS.get(scheme_of(broker_url))
    return tls(broker_url) if tls else {"broker_url": broker_url}
