"""The commands for dead letters as people use them: what they print, and what they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
import redis
from click.testing import CliRunner, Result

from dispatcher import ids, redis_keys
from dispatcher.cli.group import apns
from dispatcher.feedback import Outcome
from dispatcher.notes import Ends
from dispatcher.push_types import Environment
from dispatcher.record import Record
from tests.record_sealing import SEALED
from workers.endings import Past, leave
from workers.retry import Finish

APP: Final = "com.example.app"
DEVICE_TOKEN: Final = "ab" * 16 + "cd" * 16
SHOWN: Final = "abab...cdcd"
WORDS: Final = "the words of the payload"
DAY_S: Final = 86_400

Dead = Callable[..., Result]
Bury = Callable[..., str]


@pytest.fixture
def dead(env: Mapping[str, str]) -> Dead:
    """Return a function that runs `apns-dispatcher dead ...` and returns its result."""
    return lambda *arguments: CliRunner(env=env).invoke(apns, ["dead", *arguments])


@pytest.fixture
def bury(state: redis.Redis) -> Bury:
    """Return a function that lays a notification among the dead letters, and returns its apns id."""
    number = 0

    def lay(*, reason: str = "ServiceUnavailable", push_type: str = "alert", ago_s: float = 0, **changes: Any) -> str:
        nonlocal number
        apns_id = ids.new_batch_id(number % ids.SHARDS, bytes(15) + bytes([number]))
        number += 1
        batch = Record(
            app=APP,
            environment=Environment.PRODUCTION,
            push_type=push_type,
            device_tokens=(DEVICE_TOKEN,),
            payload=f'{{"aps":{{"alert":"{WORDS}"}}}}'.encode(),
            priority=10,
        )
        at = time.time() - ago_s
        ends = Ends()
        finish = Finish(outcome=Outcome.DEAD_LETTERED, status=503, reason=reason)
        history = f"{at - 60:.6f} TooManyRequests; {at:.6f} {reason}"
        past = Past(history=history, accepted_at=at - 120)
        leave(ends, replace(batch, **changes), 0, apns_id, finish, sealing=SEALED, past=past)
        flat: Any = [*ends.dead[0], "at", f"{at:.6f}"]
        stream = redis_keys.dead(ids.shard_of(apns_id), APP)
        state.xadd(stream, dict(zip(flat[::2], flat[1::2], strict=True)), id=f"{at * 1000:.0f}-{number}")
        return apns_id

    return lay


def test_list_shows_a_line_for_each(dead: Dead, bury: Bury) -> None:
    """A line says when, which, whose and why; of the device token the ends, of the payload nothing."""
    older, newer = bury(ago_s=3600), bury(push_type="voip", reason="InternalServerError")
    shown = dead("list")
    first, second, count = shown.stdout.splitlines()
    assert (shown.exit_code, count) == (0, "2 dead letters")
    assert first.split("  ")[1:] == [older, APP, "alert", "503 ServiceUnavailable", f"to {SHOWN}"]
    assert newer in second
    assert DEVICE_TOKEN not in shown.stdout
    assert WORDS not in shown.stdout


def test_list_of_nothing_says_so(dead: Dead) -> None:
    """Without dead letters there is one line."""
    assert dead("list").stdout == "no dead letters\n"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--app", APP], [0, 1, 2]),
        (["--app", "com.example.other"], []),
        (["--reason", "InternalServerError"], [1]),
        (["--push-type", "voip"], [1, 2]),
        (["--since", "2h"], [2]),
        (["--until", "2h"], [0, 1]),
        (["--since", "5d", "--until", "90m"], [1]),
        (["--since", "2020-01-01"], [0, 1, 2]),
        (["--until", "2020-01-01T10:00:00+02:00"], []),
        (["--limit", "2"], [0, 1]),
    ],
)
def test_filters_select(dead: Dead, bury: Bury, arguments: list[str], found: list[int]) -> None:
    """Each option narrows what a command is about."""
    apns_ids = [
        bury(ago_s=10 * DAY_S),
        bury(ago_s=DAY_S, push_type="voip", reason="InternalServerError"),
        bury(push_type="voip"),
    ]
    lines = dead("list", *arguments).stdout.splitlines()[:-1]
    assert [line.split("  ")[1] for line in lines] == [apns_ids[number] for number in found]


def test_show_tells_everything_but_the_payload(dead: Dead, bury: Bury) -> None:
    """One of them is shown with its tries; the payload only when that is asked for, the device token never."""
    bury()
    apns_id = bury(collapse_id="news", expires_in=3600.0)
    shown = dead("show", "--apns-id", apns_id).stdout
    lines = {line[:14].strip(): line[15:] for line in shown.splitlines()}
    assert (lines["apns id"], lines["reason"], lines["device token"]) == (
        apns_id,
        "503 ServiceUnavailable",
        SHOWN,
    )
    assert lines["try 1"].endswith("Z  TooManyRequests")
    assert lines["try 2"].endswith("Z  ServiceUnavailable")
    assert (lines["collapse id"], lines["priority"], lines["environment"]) == ("news", "10", "production")
    assert lines["expires"] > lines["ended"] > lines["accepted"]
    assert WORDS not in shown
    with_payload = dead("show", "--apns-id", apns_id, "--payload").stdout
    assert WORDS in with_payload
    assert DEVICE_TOKEN not in with_payload


def test_show_of_the_unreadable(dead: Dead, state: redis.Redis) -> None:
    """What cannot be read is shown with what is known, and its record's error."""
    fields: Any = {"apns_id": "some id", "reason": "record cannot be read: ValueError", "stored": "garbage", "at": 5}
    state.xadd(redis_keys.dead(0, redis_keys.UNREADABLE), fields)
    shown = dead("show").stdout
    assert "1970-01-01 00:00:05Z" in shown
    assert "record         record cannot be read" in shown


def test_replay_sends_again_and_counts(dead: Dead, bury: Bury, state: redis.Redis) -> None:
    """What can be sent is accepted and gone; what is over stays unless it is to be dropped."""
    over, good = bury(ago_s=7200, expires_in=3600.0), bury()
    rehearsed = dead("replay", "--dry-run")
    assert [line.partition(":")[0] for line in rehearsed.stdout.splitlines()[:2]] == ["expired", "replayed"]
    assert "nothing was changed" in rehearsed.stdout
    assert dead("list").stdout.endswith("2 dead letters\n")
    assert state.llen("apns.alert") == 0
    shown = dead("replay")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == "1 expired; 1 replayed"
    assert state.exists(redis_keys.batch(ids.shard_of(good), good))
    assert state.llen("apns.alert") == 1
    assert [line.split("  ")[1] for line in dead("list").stdout.splitlines()[:-1]] == [over]
    assert dead("replay", "--drop-expired").stdout.splitlines()[-1] == "1 expired, dropped"
    assert dead("list").stdout == "no dead letters\n"


def test_replay_keeps_to_its_rate(dead: Dead, bury: Bury, state: redis.Redis) -> None:
    """With a rate there is a distance between two; with a limit so many are taken, the oldest."""
    apns_ids = [bury(ago_s=60 - number) for number in range(5)]
    started = time.monotonic()
    assert dead("replay", "--rate", "5", "--limit", "3").stdout.splitlines()[-1] == "3 replayed"
    assert time.monotonic() - started > 0.4
    accepted = [apns_id for apns_id in apns_ids if state.exists(redis_keys.batch(ids.shard_of(apns_id), apns_id))]
    assert accepted == apns_ids[:3]


def test_drop_needs_to_be_told_which(dead: Dead, bury: Bury) -> None:
    """Dropping all of them must be said; a dry run changes nothing; a filter drops what it finds."""
    bury(reason="InternalServerError")
    bury()
    refused = dead("drop")
    assert refused.exit_code == 2
    assert "--all" in refused.stderr
    assert "2 dead letters dropped" in dead("drop", "--dry-run").stdout
    assert dead("list").stdout.endswith("2 dead letters\n")
    assert dead("drop", "--reason", "InternalServerError").stdout.endswith("1 dead letter dropped\n")
    assert "InternalServerError" not in dead("list").stdout
    assert dead("drop", "--all").stdout.endswith("1 dead letter dropped\n")
    assert dead("list").stdout == "no dead letters\n"


@pytest.mark.parametrize("text", ["yesterday", "2 h", "7w", "2030-13-01"])
def test_a_time_that_is_none_is_refused(dead: Dead, text: str) -> None:
    """A wrong time is a wrong command line, and says how one is written."""
    shown = dead("list", "--since", text)
    assert shown.exit_code == 2
    assert "90m, 2h, 7d" in shown.stderr


def test_a_state_server_that_is_gone_is_a_message(env: Mapping[str, str]) -> None:
    """Without the state server there is one message and exit code 1."""
    shown = CliRunner(env={**env, "APNS_BROKER_URL": "redis://127.0.0.1:1/0"}).invoke(apns, ["dead", "list"])
    assert shown.exit_code == 1
    assert shown.stderr == "the state server does not answer\n"
