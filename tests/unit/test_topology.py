"""Which server has which shard, from what Sentinels and nodes of a cluster answer."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from dispatcher import ids, redis_keys
from dispatcher.topology import topology_of

SHARDS = range(ids.SHARDS)
NODES = ((0, 5460, b"10.0.0.1"), (5461, 10922, b"10.0.0.2"), (10923, 16383, b"10.0.0.3"))


def slots(*nodes: tuple[int, int, bytes | None]) -> list[Any]:
    """Return an answer to CLUSTER SLOTS, each node with a replica."""
    return [[first, last, [host, 7000, b"id", []], [b"10.0.9.9", 7000, b"id", []]] for first, last, host in nodes]


@pytest.mark.parametrize("url", ["redis://h/1", "rediss://:pw@h:6380/0?ssl_cert_reqs=none", "unix:///run/s?db=2"])
def test_one_server_has_every_shard(url: str) -> None:
    """Its address stays as it is, and nobody is asked."""
    topology = topology_of(url)
    assert topology.fixed == dict.fromkeys(SHARDS, url)
    assert list(topology.guides_in_turn({}, last=None)) == []


@pytest.mark.parametrize(
    ("url", "guide", "server"),
    [
        ("sentinel://one/0?master=apns", "redis://one:26379", "redis://10.0.0.1:6379/0"),
        (
            "sentinel://web:p%40ss@one:1/2?master=apns&sentinel_password=w%2Fatch&socket_keepalive=1",
            "redis://:w%2Fatch@one:1?socket_keepalive=1",
            "redis://web:p%40ss@10.0.0.1:6379/2?socket_keepalive=1",
        ),
        (
            "sentinels://:pw@one/0?master=apns&sentinel_username=me&sentinel_password=x&ssl_ca_certs=/ca.pem",
            "rediss://me:x@one:26379?ssl_ca_certs=/ca.pem",
            "rediss://:pw@10.0.0.1:6379/0?ssl_ca_certs=/ca.pem",
        ),
    ],
)
def test_sentinels_say_who_is_master(url: str, guide: str, server: str) -> None:
    """The Sentinels have a password of their own and no database; the master has all shards."""
    topology = topology_of(url)
    assert list(topology.guides_in_turn({}, last=None)) == [guide]
    assert topology.question == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "apns")
    assert topology.read([b"10.0.0.1", b"6379"], guide) == dict.fromkeys(SHARDS, server)
    assert topology.read(None, guide) is None, "it does not watch a master of that name"


def test_every_sentinel_is_asked() -> None:
    """One after another, an IPv6 address among them; a master is no guide to itself."""
    topology = topology_of("sentinel://one,[::1]:26380,three/0?master=apns")
    guides = list(topology.guides_in_turn({0: "redis://10.0.0.1:6379/0"}, last=None))
    assert guides == ["redis://one:26379", "redis://[::1]:26380", "redis://three:26379"]


def test_nodes_of_a_cluster_say_who_has_what() -> None:
    """Each shard is where its hash tag's slot is, on a master, with the credentials and options of the address."""
    topology = topology_of("redis+cluster://web:pw@10.0.0.1:7000?socket_keepalive=1")
    places = topology.read(slots(*NODES), "redis://10.0.0.1:7000")
    assert places is not None
    for shard in SHARDS:
        slot = key_slot(redis_keys.counters(shard).encode())
        (host,) = (host.decode() for first, last, host in NODES if first <= slot <= last)
        assert places[shard] == f"redis://web:pw@{host}:7000?socket_keepalive=1"
    assert set(places) == set(SHARDS)


def test_a_cluster_over_tls() -> None:
    """Seeds and nodes are reached over TLS alike."""
    topology = topology_of("rediss+cluster://one:7000")
    assert list(topology.guides_in_turn({}, last=None)) == ["rediss://one:7000"]
    places = topology.read(slots((0, 16383, b"10.0.0.1")), "rediss://one:7000")
    assert places == dict.fromkeys(SHARDS, "rediss://10.0.0.1:7000")


@pytest.mark.parametrize("unnamed", [None, b""])
def test_a_node_without_a_name_is_the_one_asked(unnamed: bytes | None) -> None:
    """A node that does not know how it is reached leaves its name out."""
    topology = topology_of("redis+cluster://one:7000")
    places = topology.read(slots((0, 16383, unnamed)), "redis://one:7000")
    assert places == dict.fromkeys(SHARDS, "redis://one:7000")


def test_a_cluster_with_a_gap_is_not_known() -> None:
    """Where somebody's slots are nobody's, another node is asked."""
    topology = topology_of("redis+cluster://one:7000")
    assert topology.read(slots(*NODES[:2]), "redis://one:7000") is None


def test_whom_to_ask_in_a_cluster() -> None:
    """Its nodes know best, then those the address names; the one that failed is asked last."""
    topology = topology_of("redis+cluster://one:7000,two:7000")
    known = {0: "redis://a:7000", 1: "redis://b:7000", 2: "redis://a:7000"}
    assert list(topology.guides_in_turn(known, last="redis://a:7000")) == [
        "redis://b:7000",
        "redis://one:7000",
        "redis://two:7000",
        "redis://a:7000",
    ]
