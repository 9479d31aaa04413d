"""What production refuses of the addresses of servers: reading along on the way, strangers, and anybody in disguise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, urlsplit

from dispatcher.settings_urls import LOCAL_SCHEMES, SECURE_SCHEMES, broker_urls, scheme_of

_LOOPBACK_NAME: Final = re.compile(r"(.+\.)?localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Something refused.

    Attributes:
        is_broken: Tells from the address of one server.
        problem: What is wrong, after the variable's name, and the mend.
    """

    is_broken: Callable[[str], bool]
    problem: str


def address_problems(variable: str, url: str) -> Iterator[str]:
    """Yield what production refuses of a variable's address, or addresses; never shows one: it may hold a password."""
    for rule in _RULES:
        if any(rule.is_broken(server) for server in broker_urls(url)):
            yield f"{variable} {rule.problem}"


def _is_plaintext(url: str) -> bool:
    return scheme_of(url) in SECURE_SCHEMES and not all(map(_is_loopback, _hosts(url)))


def _hosts(url: str) -> Iterator[str]:
    """Yield the host, or each of those that stand in one address."""
    servers = urlsplit(url).netloc.rpartition("@")[2]
    for server in servers.split(","):
        yield urlsplit(f"//{server}").hostname or "localhost"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return _LOOPBACK_NAME.fullmatch(host) is not None


def _has_no_password(url: str) -> bool:
    if scheme_of(url) in LOCAL_SCHEMES:
        return False
    parts = urlsplit(url)
    return not parts.password and not parse_qs(parts.query).get("password")


def _verifies_nothing(url: str) -> bool:
    query = {name: values[-1].lower() for name, values in parse_qs(urlsplit(url).query).items()}
    skips_name = query.get("ssl_check_hostname", "true") in {"false", "no", "0", "f", "n", "off"}
    return query.get("ssl_cert_reqs", "").removeprefix("cert_") == "none" or skips_name


_RULES: Final = (
    _Rule(
        is_broken=_is_plaintext,
        problem=(
            "leads over a network in plaintext, which is refused when APNS_MODE is production; write "
            f"{' or '.join(f'{secure}:// for {plain}://' for plain, secure in SECURE_SCHEMES.items())}, "
            "or the server's unix socket"
        ),
    ),
    _Rule(
        is_broken=_has_no_password,
        problem=(
            "holds no password, which is refused when APNS_MODE is production; give the server one, "
            "and write it as in rediss://:PASSWORD@HOST:6379/0"
        ),
    ),
    _Rule(
        is_broken=_verifies_nothing,
        problem=(
            "trusts any server's certificate, which is refused when APNS_MODE is production; remove ssl_cert_reqs and "
            "ssl_check_hostname, and name your own authority with ssl_ca_certs=/path/to/ca.pem"
        ),
    ),
)
