"""Feedback that cannot be opened stops no reader, and is told as soon as it can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, Feedback, Settings, redis_keys
from dispatcher.cli.dead_options import one_line
from dispatcher.dead_letter import DeadLetter, Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.replay import Replay
from tests.conductor.test_feedback_reader import APP, DEVICE_TOKEN, add_record, ended_id, pending
from tests.record_sealing import KEYS_TEXT, OTHER_KEY_TEXT

SHARD: Final = 2
ROTATED: Final = f"{OTHER_KEY_TEXT},{KEYS_TEXT}"


@pytest.fixture
def letters(settings: Settings) -> Iterator[DeadLetters]:
    """Return the dead letters as an operator with the fleet's keys sees them."""
    with DeadLetters(settings) as dead_letters:
        yield dead_letters


def put_aside(letters: DeadLetters) -> list[DeadLetter]:
    """Return what could not be read."""
    return list(letters.find(Wanted(app=redis_keys.UNREADABLE)))


def change_last(state: redis.Redis, **fields: str) -> None:
    """Change fields of the last entry of feedback, as somebody who may write to the state server."""
    stream = redis_keys.feedback(SHARD)
    found: Any = state.xrevrange(stream, count=1)
    ((stream_id, entry),) = found
    state.xdel(stream, stream_id)
    state.xadd(stream, {**entry, **{name.encode(): value.encode() for name, value in fields.items()}})


FORGERIES: Final[dict[str, tuple[dict[str, str], str]]] = {
    "of another notification": ({"apns_id": ended_id(SHARD, 7)}, "its seal does not fit"),
    "plain": ({"device_token": DEVICE_TOKEN}, "not encrypted"),
    "of an unknown key": ({"device_token": "other:AAAA"}, "the key other, which APNS_RECORD_KEYS does not list"),
    "of an unknown outcome": ({"outcome": "brand_new"}, "ValueError"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_cannot_be_opened_is_put_aside(
    push: Dispatcher, state: redis.Redis, letters: DeadLetters, forgery: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not stop the reader and does not come again, but is counted, logged by its hash, and kept."""
    changes, rule = FORGERIES[forgery]
    add_record(state, SHARD, APP, number=1)
    change_last(state, **changes)
    add_record(state, SHARD, APP, number=2)
    reader = push.feedback("web")
    assert [told.apns_id for told in reader.read()] == [ended_id(SHARD, 2)]
    assert pending(state, "web") == 1, "only the one that was told waits to be acknowledged"
    (letter,) = put_aside(letters)
    assert rule in letter.reason
    assert letter.apns_id == changes.get("apns_id", ended_id(SHARD, 1))
    assert DEVICE_TOKEN not in one_line(letter)
    assert state.hget(redis_keys.counters(SHARD), "feedback_unreadable|||") == b"1"
    logged = capsys.readouterr().out
    assert "sha256" in logged
    assert DEVICE_TOKEN not in logged
    assert letters.replay(letter) is Replay.UNREADABLE
    assert put_aside(letters) == [letter], "it stays for inspection"


def test_a_missing_key_loses_no_feedback(
    env: dict[str, str], push: Dispatcher, state: redis.Redis, letters: DeadLetters
) -> None:
    """What a reader without the key put aside is told again, as it was, once somebody with the key replays it."""
    add_record(state, SHARD, APP)
    with Dispatcher(Settings.from_env({**env, "APNS_RECORD_KEYS": OTHER_KEY_TEXT})) as stranger:
        assert stranger.feedback("web").read() == []
    (letter,) = put_aside(letters)
    assert letters.replay(letter, is_rehearsal=True) is Replay.REPLAYED
    assert put_aside(letters) == [letter]
    assert letters.replay(letter) is Replay.REPLAYED
    assert put_aside(letters) == []
    (told,) = push.feedback("web").read()
    assert isinstance(told, Feedback)
    assert (told.apns_id, told.device_token, told.reason, told.at) == (
        ended_id(SHARD, 0),
        DEVICE_TOKEN,
        "BadDeviceToken",
        1.5,
    )


def test_a_reader_with_both_keys_reads_both(env: dict[str, str], state: redis.Redis, letters: DeadLetters) -> None:
    """While keys change, feedback under the old one is read as ever."""
    add_record(state, SHARD, APP)
    with Dispatcher(Settings.from_env({**env, "APNS_RECORD_KEYS": ROTATED})) as push:
        assert [told.device_token for told in push.feedback("web").read()] == [DEVICE_TOKEN]
    assert put_aside(letters) == []


def test_without_keys_feedback_is_plain(env: dict[str, str], state: redis.Redis, letters: DeadLetters) -> None:
    """A fleet without keys reads device tokens as they are, and refuses what is none."""
    for device_token in (DEVICE_TOKEN, "no hex"):
        add_record(state, SHARD, APP)
        change_last(state, device_token=device_token)
    with Dispatcher(Settings.from_env({**env, "APNS_RECORD_KEYS": "plain"})) as push:
        assert [told.device_token for told in push.feedback("web").read()] == [DEVICE_TOKEN]
    assert len(put_aside(letters)) == 1


def test_a_reader_of_one_app_leaves_others_alone(push: Dispatcher, state: redis.Redis, letters: DeadLetters) -> None:
    """What cannot be read of another app is that app's readers' to put aside."""
    add_record(state, SHARD, "com.example.other")
    change_last(state, device_token="no hex")
    assert push.feedback("mine", app=APP).read() == []
    assert put_aside(letters) == []


def test_what_cannot_be_put_aside_comes_again(push: Dispatcher, state: redis.Redis) -> None:
    """When the state server does not take it, nothing is acknowledged: it is not lost."""
    reader = push.feedback("web")
    add_record(state, SHARD, APP)
    change_last(state, device_token="no hex")
    state.set(redis_keys.dead(SHARD, redis_keys.UNREADABLE), "no stream")
    with pytest.raises(Exception, match="the state server does not answer"):
        reader.read()
    assert pending(state, "web") == 1


def test_the_function_of_a_feedback_task_gets_opened_device_tokens(push: Dispatcher, state: redis.Redis) -> None:
    """A feedback task opens device tokens too, and what it cannot open does not stop it."""
    for number in range(3):
        add_record(state, SHARD, APP, number=number)
    change_last(state, device_token="plainly none")
    taken: list[Any] = []
    assert push.feedback_handler(taken.extend)(APP) == 2
    assert [told.device_token for told in taken] == [DEVICE_TOKEN] * 2
