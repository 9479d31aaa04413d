"""Where the state is: which server has which shard, and whom to ask for it.

redis://... rediss://... unix://...                      one server has every shard
sentinel://:PASSWORD@HOST:26379,HOST:26379/0?master=NAME  one server at a time has, the Sentinels know which
redis+cluster://:PASSWORD@HOST:6379,HOST:6379             each has some, each knows which has what

`sentinels://` and `rediss+cluster://` are the same over TLS. What else a server's address may hold stays in the query;
`sentinel_username` and `sentinel_password` are for the Sentinels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.crc import key_slot

from dispatcher import ids
from dispatcher.server_urls import UNREADABLE, ServersUrl, host_and_port

#: Shard -> address of the server that has it.
Places = Mapping[int, str]

_SENTINEL_PORT: Final = 26379
_CLUSTER_PORT: Final = 6379
SENTINELS_USER: Final = "sentinel_username"
SENTINELS_PASSWORD: Final = "sentinel_password"  # noqa: S105  (a name)
_SENTINELS_OWN: Final = ("master", SENTINELS_USER, SENTINELS_PASSWORD)
_SHARDS: Final = range(ids.SHARDS)
#: Shard -> slot of a cluster: that of its hash tag.
_SLOTS: Final = tuple(key_slot(f"{shard:02d}".encode()) for shard in _SHARDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How the servers of one address are found.

    Attributes:
        fixed: Where the shards are, if that never changes; else None.
        guides: Addresses of those who know it.
        question: The command they are asked with.
        read: Reads an answer, given whose it is; None when it does not say.
        has_peers: Whether the servers themselves know it, too.
    """

    fixed: Places | None = None
    guides: tuple[str, ...] = ()
    question: tuple[str, ...] = ()
    read: Callable[[Any, str], Places | None] = lambda _answer, _guide: None
    has_peers: bool = False

    def guides_in_turn(self, known: Places, *, last: str | None) -> Iterator[str]:
        """Yield whom to ask, one after another.

        Args:
            known: Where the shards were.
            last: The one that is least likely to answer, or to know.
        """
        peers = known.values() if self.has_peers else ()
        everybody = dict.fromkeys((*peers, *self.guides))
        yield from (guide for guide in everybody if guide != last)
        yield from (guide for guide in everybody if guide == last)


def topology_of(url: str) -> Topology:
    """Return how the servers of an address are found.

    Raises:
        ValueError: It cannot be understood. Never shows the address: it may hold a password.
    """
    scheme, separator, _rest = url.partition("://")
    make = TOPOLOGIES.get(scheme.lower() if separator else "")
    if make is None:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in TOPOLOGIES)}")
    return make(url)


def parse_sentinel(url: str) -> ServersUrl:
    """Take the address of a group watched by Sentinels apart.

    Raises:
        ValueError: It cannot be understood, or names no master.
    """
    group = ServersUrl.parse(url, default_port=_SENTINEL_PORT)
    if not group.query.get("master"):
        raise ValueError("names no master; write sentinel://HOST:26379,HOST:26379/0?master=NAME")
    return group


def servers_query(group: ServersUrl) -> dict[str, str]:
    """Return the part of the query that is not about the Sentinels."""
    return {name: value for name, value in group.query.items() if name not in _SENTINELS_OWN}


def _one_server(url: str) -> Topology:
    try:
        _port = urlsplit(url).port
    except ValueError as exc:
        # urllib quotes what it took for the port, and that is the password when it holds an unescaped slash.
        raise ValueError(UNREADABLE) from exc
    return Topology(fixed=dict.fromkeys(_SHARDS, url))


def _sentinel(url: str, *, scheme: str) -> Topology:
    group = parse_sentinel(url)
    query = servers_query(group)

    def read(answer: Any, _guide: str) -> Places | None:
        if not answer:
            return None
        host, port = answer
        return dict.fromkeys(_SHARDS, group.server(scheme, host_and_port(host.decode(), int(port)), query=query))

    user, password = group.query.get(SENTINELS_USER, ""), group.query.get(SENTINELS_PASSWORD, "")
    credentials = f"{user}:{password}@" if user or password else ""
    # A Sentinel has no databases.
    watchers = ServersUrl(hosts=group.hosts, credentials=credentials, path="", query={})
    return Topology(
        guides=tuple(watchers.server(scheme, host, query=query) for host in group.hosts),
        question=("SENTINEL", "GET-MASTER-ADDR-BY-NAME", unquote(group.query["master"])),
        read=read,
    )


def _cluster(url: str, *, scheme: str) -> Topology:
    group = ServersUrl.parse(url, default_port=_CLUSTER_PORT)
    if group.path.strip("/") not in ("", "0") or group.query.get("db", "0") != "0":
        raise ValueError("names a database; a cluster has only database 0: leave it out")

    def read(answer: Any, guide: str) -> Places | None:
        asked = urlsplit(guide).hostname or ""
        places: dict[int, str] = {}
        for first, last, (host, port, *_), *_replicas in answer:
            # A node that does not know its own name leaves it out: it is the one that was asked.
            server = group.server(scheme, host_and_port(host.decode() if host else asked, port), query=group.query)
            places |= dict.fromkeys(_shards_between(first, last), server)
        return places if len(places) == ids.SHARDS else None

    guides = tuple(group.server(scheme, host, query=group.query) for host in group.hosts)
    return Topology(guides=guides, question=("CLUSTER", "SLOTS"), read=read, has_peers=True)


def _shards_between(first: int, last: int) -> Sequence[int]:
    return [shard for shard in _SHARDS if first <= _SLOTS[shard] <= last]


#: Scheme of the state server -> how its address is understood.
TOPOLOGIES: Final[Mapping[str, Callable[[str], Topology]]] = {
    "redis": _one_server,
    "rediss": _one_server,
    "unix": _one_server,
    "sentinel": lambda url: _sentinel(url, scheme="redis"),
    "sentinels": lambda url: _sentinel(url, scheme="rediss"),
    "redis+cluster": lambda url: _cluster(url, scheme="redis"),
    "rediss+cluster": lambda url: _cluster(url, scheme="rediss"),
}
