"""Verify the broker's certificate and name, which kombu does for `rediss://` only when it is told to."""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from dispatcher.settings_urls import each_server, scheme_of

_CHOICES: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def broker_use_ssl(broker_url: str) -> dict[str, Any] | None:
    """Return Celery's setting `broker_use_ssl`; None where the address asks for no TLS or another library reads it."""
    first = next(each_server(broker_url))
    if scheme_of(first) != "rediss":
        return None
    options: dict[str, Any] = {
        name: values[-1] for name, values in parse_qs(urlsplit(first).query).items() if name.startswith("ssl_")
    }
    choice = str(options.get("ssl_cert_reqs", "required")).lower().removeprefix("cert_")
    name_matters = str(options.get("ssl_check_hostname", "true")).lower() != "false"
    return {**options, "ssl_cert_reqs": _CHOICES[choice], "ssl_check_hostname": name_matters and choice != "none"}
