"""What each role of deploy/users.acl must not do, tried for real."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest
import redis

from dispatcher import Lane, redis_keys
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.users import Role, Users
from tests.acl import grants
from tests.acl.conftest import AT_ONCE

APP: Final = "com.example.app"
BATCH: Final = redis_keys.batch(3, "0190b3a1-0000-8000-8000-000000030000")
CLAIM: Final = redis_keys.claim(3, "0190b3a1-0000-8000-8000-000000030000")
SLOT: Final = redis_keys.slot(3, "00" * 16)
FEEDBACK: Final = redis_keys.feedback(3)
DEAD: Final = redis_keys.dead(3, APP)
QUEUED: Final = redis_keys.queued(3, "apns.alert")
HELD: Final = redis_keys.held(3, APP)
PIDBOX: Final = "/0.celery.pidbox"
EVENTS: Final = "/0.celeryev/worker.heartbeat"

Command = tuple[str | int, ...]

#: Nobody but admin: it is about the server, or shows what there is.
ADMINISTRATION: Final[tuple[Command, ...]] = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "worker", "+@all"),
    ("ACL", "WHOAMI"),
    ("SHUTDOWN", "NOSAVE"),
    ("REPLICAOF", "127.0.0.1", 1),
    ("MODULE", "LIST"),
    ("MONITOR",),
    ("SAVE",),
    ("BGREWRITEAOF",),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "PAUSE", 1),
    ("SLOWLOG", "GET"),
    ("KEYS", "*"),
    ("SCAN", 0),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("SELECT", 1),
    ("SWAPDB", 0, 1),
    ("MOVE", BATCH, 1),
    ("DUMP", BATCH),
    ("RESTORE", BATCH, 0, "x"),
    ("COPY", BATCH, "mine"),
    ("RENAME", BATCH, "mine"),
    ("MIGRATE", "127.0.0.1", 1, BATCH, 0, 100),
    ("SORT", BATCH),
    ("OBJECT", "ENCODING", BATCH),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("EVAL", "return 1", 0),
    ("FUNCTION", "LIST"),
    ("FUNCTION", "FLUSH"),
    ("FCALL", "f", 0),
    ("PUBSUB", "CHANNELS"),
    ("PUBLISH", "another", "x"),
    ("SUBSCRIBE", "another"),
    ("SET", "another", "x"),
    ("GET", "another"),
)
#: Reading what waits in a queue, or taking it away.
QUEUES: Final[tuple[Command, ...]] = (
    ("LRANGE", "apns.alert", 0, -1),
    ("LINDEX", "apns.alert", 0),
    ("RPOP", "apns.alert"),
    ("LPOP", "apns.alert"),
    ("LMOVE", "apns.alert", "mine", "LEFT", "LEFT"),
    ("LTRIM", "apns.alert", 1, 0),
    ("DEL", "apns.alert"),
    ("LRANGE", "_garbage.apns.alert", 0, -1),
)
COUNTERS: Final = ("HGETALL", redis_keys.counters(3))
#: What shows or changes more than one notification that the caller knows of.
LISTS: Final[tuple[Command, ...]] = (
    ("ZRANGE", QUEUED, 0, -1),
    ("ZRANGE", HELD, 0, -1),
    ("ZSCAN", HELD, 0),
    ("DEL", QUEUED),
    ("HGETALL", SLOT),
    ("HGETALL", CLAIM),
    ("XRANGE", FEEDBACK, "-", "+"),
    ("DEL", FEEDBACK),
    ("XGROUP", "DESTROY", FEEDBACK, "crm"),
    ("DEL", DEAD),
    COUNTERS,
    ("DEL", redis_keys.counters(3)),
)
#: Any record of ours, and any message.
RECORDS: Final[tuple[Command, ...]] = (
    ("GET", BATCH),
    ("GETRANGE", BATCH, 0, 400),
    ("STRLEN", BATCH),
    ("HGET", CLAIM, "done"),
    ("HGET", SLOT, "record"),
    ("HMGET", SLOT, "record"),
    ("GET", redis_keys.slot_of(3, "id")),
    ("GET", redis_keys.seen(3, "id")),
    ("GET", redis_keys.ended(3, "id")),
    ("XREADGROUP", "GROUP", "crm", "me", "STREAMS", FEEDBACK, ">"),
    ("XRANGE", DEAD, "-", "+"),
    ("BRPOP", "apns.alert", 1),
)
#: Adding to, changing or removing anything of ours.
CHANGES: Final[tuple[Command, ...]] = (
    ("SET", BATCH, "x"),
    ("DEL", BATCH),
    ("HSET", SLOT, "record", "x"),
    ("ZADD", QUEUED, 1, "x"),
    ("ZREM", QUEUED, "x"),
    ("XADD", FEEDBACK, "*", "outcome", "delivered"),
    ("XACK", FEEDBACK, "crm", "1-1"),
    ("HINCRBY", redis_keys.counters(3), "x", 1),
    ("HSET", redis_keys.paused(), "*|*|*", "x"),
    ("SET", redis_keys.turn("alert"), "me"),
    ("SET", redis_keys.clock(3), 3600),
    ("LPUSH", "apns.alert", "x"),
    ("SADD", "_kombu.binding.celery", "x"),
)
CONTROL: Final[tuple[Command, ...]] = (("PUBLISH", PIDBOX, "x"), ("PSUBSCRIBE", PIDBOX))
LISTENING: Final[tuple[Command, ...]] = (("PSUBSCRIBE", "/0.celeryev/*"), ("PSUBSCRIBE", "*"))

FORBIDDEN: Final[dict[Role, tuple[Command, ...]]] = {
    Role.PRODUCER: (
        *ADMINISTRATION,
        *QUEUES,
        *LISTS,
        *CONTROL,
        *LISTENING,
        ("BRPOP", "apns.alert", 1),
        ("LPUSH", "celery", "x"),
        ("PUBLISH", EVENTS, "x"),
        ("XRANGE", DEAD, "-", "+"),
        ("XADD", DEAD, "*", "apns_id", "x"),
        ("XDEL", FEEDBACK, "1-1"),
        ("HGETALL", redis_keys.paused()),
        ("HSET", redis_keys.paused(), "*|*|*", "x"),
        ("ZRANGEBYSCORE", redis_keys.leased(3, Lane.ALERT), "-inf", "+inf"),
        ("SET", redis_keys.turn("alert"), "me"),
        ("SET", redis_keys.sent(3, "00" * 16), "x"),
        ("SET", redis_keys.clock(3), 3600),
        ("ZADD", redis_keys.workers(), 1, "host:1:alert"),
    ),
    Role.FEEDBACK: (
        *ADMINISTRATION,
        *QUEUES,
        *CONTROL,
        *LISTENING,
        *(command for command in LISTS if command[0] != "HGETALL"),
        *(command for command in RECORDS if command[0] != "XREADGROUP"),
        *(command for command in CHANGES if command[0] not in ("XACK", "SADD", "HINCRBY")),
    ),
    Role.OPERATOR: (
        # EVAL permits no more than SCRIPT LOAD and EVALSHA; a transaction that sends a letter again cannot do without.
        *(command for command in ADMINISTRATION if command[0] != "EVAL"),
        *QUEUES,
        *LISTS,
        *LISTENING,
        ("BRPOP", "apns.alert", 1),
        ("PSUBSCRIBE", PIDBOX),
        ("PUBLISH", EVENTS, "x"),
        ("XREADGROUP", "GROUP", "crm", "me", "STREAMS", FEEDBACK, ">"),
        ("XADD", DEAD, "*", "apns_id", "x"),
        ("SET", redis_keys.clock(3), 3600),
    ),
    Role.WORKER: (
        *ADMINISTRATION,
        *QUEUES,
        *LISTENING,
        ("PUBLISH", PIDBOX, "x"),
        ("ZRANGE", HELD, 0, -1),
        ("HGETALL", SLOT),
        ("SET", BATCH, "x"),
        ("HSET", redis_keys.slot_of(3, "id"), "x", "y"),
        ("GET", redis_keys.seen(3, "id")),
        ("XREADGROUP", "GROUP", "crm", "me", "STREAMS", FEEDBACK, ">"),
        ("XRANGE", DEAD, "-", "+"),
        ("XDEL", DEAD, "1-1"),
        ("DEL", FEEDBACK),
        ("BRPOP", "celery", 1),
        ("SET", redis_keys.clock(3), 3600),
    ),
    Role.FLOWER: (
        *ADMINISTRATION,
        *QUEUES,
        *LISTS,
        *RECORDS,
        *CHANGES,
        ("PSUBSCRIBE", PIDBOX),
        ("PUBLISH", EVENTS, "x"),
    ),
    Role.EXPORTER: (
        *ADMINISTRATION,
        *QUEUES,
        *RECORDS,
        *CHANGES,
        *CONTROL,
        *LISTENING,
        *(command for command in LISTS if command not in (("ZRANGE", QUEUED, 0, -1), COUNTERS)),
        ("ZREMRANGEBYSCORE", QUEUED, "-inf", "+inf"),
        ("EVALSHA", "0" * 40, 0),
    ),
}


@pytest.fixture(scope="module")
def server(users: Users) -> Iterator[EmbeddedServer]:
    """Run a server that knows the users."""
    with EmbeddedServer(users=users) as running:
        yield running


@pytest.fixture
def connections(server: EmbeddedServer) -> Iterator[dict[Role, Any]]:
    """Return a connection of each role's."""
    opened = {role: redis.Redis.from_url(server.url_of(role)) for role in Role}
    yield opened
    for connection in opened.values():
        connection.close()


def not_refused(connection: Any, commands: Iterable[Command]) -> list[Command]:
    """Return the commands that the server does not refuse to permit."""
    found = []
    for command in commands:
        try:
            connection.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            continue
        except redis.ResponseError:
            pass  # allowed, and wrong for another reason
        found.append(command)
    return found


@pytest.mark.parametrize("role", FORBIDDEN)
def test_what_is_forbidden_is_refused(connections: dict[Role, Any], role: Role) -> None:
    """The server refuses everything that is not the role's business."""
    assert not_refused(connections[role], FORBIDDEN[role]) == []


def test_debug_is_refused_twice(connections: dict[Role, Any]) -> None:
    """DEBUG is switched off in the server before it asks who wants it; the users may not use it either."""
    for role in FORBIDDEN:
        with pytest.raises(redis.ResponseError, match="DEBUG command not allowed"):
            connections[role].execute_command("DEBUG", "SLEEP", 0)
        assert not grants.is_permitted(connections[Role.ADMIN], role, (b"DEBUG", b"SLEEP", b"0"))


def test_every_role_is_in_the_table() -> None:
    """Nobody but the administrator may do everything."""
    assert set(FORBIDDEN) == set(Role) - {Role.ADMIN}


@pytest.mark.parametrize("role", [Role.PRODUCER, Role.OPERATOR, Role.WORKER])
def test_a_script_may_not_do_more_than_its_caller(connections: dict[Role, Any], role: Role) -> None:
    """A script of the caller's own making is refused what the caller is refused; it changes nothing."""
    connections[Role.ADMIN].lpush("apns.alert", "somebody's")
    for text in ("return redis.call('LRANGE', 'apns.alert', 0, -1)", "return redis.call('KEYS', '*')"):
        digest = connections[role].script_load(text)
        with pytest.raises(redis.ResponseError, match="ACL failure in script"):
            connections[role].evalsha(digest, 1, QUEUED)
    assert connections[Role.ADMIN].lrange("apns.alert", 0, -1)[0] == b"somebody's"


def test_a_password_is_needed(server: EmbeddedServer) -> None:
    """Without a user, or with a wrong password, the server answers nothing."""
    anonymous = server.url.replace("admin:admin-secret@", "")
    for url in (anonymous, server.url.replace("admin-secret", "wrong")):
        with redis.Redis.from_url(url, retry=AT_ONCE) as visitor, pytest.raises(redis.AuthenticationError):
            visitor.ping()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("role", Role)
def test_every_role_can_introduce_itself(server: EmbeddedServer, role: Role, protocol: int) -> None:
    """HELLO, CLIENT SETINFO and CLIENT SETNAME, with which clients begin, are permitted in both protocols."""
    url = server.url_of(role)
    with (
        redis.Redis.from_url(url, protocol=protocol, client_name="me") as visitor,
        redis.Redis.from_url(server.url_of(Role.ADMIN)) as admin,
    ):
        assert visitor.ping()
        (known,) = (each for each in admin.client_list() if each["name"] == "me")
    assert (known["user"], known["resp"]) == (role, str(protocol))
    assert known["lib-name"].startswith("redis-py")
    assert known["lib-ver"] == redis.__version__
