"""The keys for records: what may be written, what is said of what may not, and that no key is ever shown."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import record_keys
from dispatcher.errors import SettingsError
from dispatcher.record_keys import RecordKey, RecordKeys
from dispatcher.settings import Mode, Settings
from workers.runtime import warn_of_readable_records

SECRET: Final = bytes(range(100, 132))
ENCODED: Final = b64encode(SECRET).decode()
KEY: Final = RecordKey(key_id="one", secret=SECRET)


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (f"one:{ENCODED}", (KEY,)),
        (f"one:{ENCODED},two:{ENCODED}", (KEY, RecordKey(key_id="two", secret=SECRET))),
        (f"plain,one:{ENCODED}", (None, KEY)),
        (f" one:{ENCODED} ,\n plain\n", (KEY, None)),
        ("plain", (None,)),
    ],
)
def test_lists_of_keys(text: str, listed: tuple[RecordKey | None, ...]) -> None:
    """Keys and the word plain keep their order; white space does not matter."""
    assert record_keys.parse(text) == RecordKeys(listed=listed)


BROKEN: Final = [
    (ENCODED, "has no id"),
    (f":{ENCODED}", "has no id"),
    (f"plain:{ENCODED}", "has no id"),
    (f"a.b:{ENCODED}", "has no id"),
    (f"{'k' * 17}:{ENCODED}", "has no id"),
    ("one:", "has 0 bytes instead of 32 in entry 1"),
    (f"one:{b64encode(SECRET[:31]).decode()}", "has 31 bytes instead of 32 in entry 1"),
    (f"one:{ENCODED},two:{ENCODED[:-1]}", "has no base64 after the colon in entry 2"),
    (f"one:{ENCODED[:5]}!{ENCODED[6:]}", "has no base64"),
    ("one:ünïcode", "has no base64"),
    (f"one:{ENCODED},one:{ENCODED}", "lists an id twice"),
    ("plain plain", "lists an id twice"),
    (",", "lists nothing"),
]


@pytest.mark.parametrize(("text", "rule"), BROKEN)
def test_broken_lists_are_problems(text: str, rule: str, env: dict[str, str]) -> None:
    """A list that breaks a rule is one of the settings' problems; it names the rule, and shows nothing of the list."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**env, "APNS_RECORD_KEYS": text, "APNS_TIMEOUT": "never"})
    of_keys, of_timeout = sorted(caught.value.problems, key=lambda problem: "APNS_TIMEOUT" in problem)
    assert of_keys.startswith(f"APNS_RECORD_KEYS {rule}")
    assert "openssl rand -base64 32" in of_keys
    assert "APNS_TIMEOUT" in of_timeout
    assert not [part for part in (ENCODED, ENCODED[:8], "ünï", "k" * 17) if part in str(caught.value)]


@given(text=st.text(max_size=80))
def test_no_text_crashes_the_reader(text: str) -> None:
    """Whatever stands there is a list of keys or a ValueError."""
    with suppress(ValueError):
        assert record_keys.parse(text).listed


def test_without_keys_records_are_plain(env: dict[str, str]) -> None:
    """No setting is the same as the word plain."""
    del env["APNS_RECORD_KEYS"]
    assert Settings.from_env(env).record_keys == RecordKeys() == record_keys.parse("plain")


def test_settings_are_fit_to_print(env: dict[str, str]) -> None:
    """No key stands in the settings' text."""
    settings = Settings.from_env({**env, "APNS_RECORD_KEYS": f"one:{ENCODED}"})
    assert settings.record_keys.listed == (KEY,)
    assert not [form for form in (ENCODED, str(SECRET), SECRET.hex()) if form in f"{settings!r} {settings}"]


def test_a_file_holds_the_keys(env: dict[str, str], tmp_path: Path) -> None:
    """A mounted secret is read like the variable."""
    file = tmp_path / "keys"
    file.write_text(f"one:{ENCODED}\nplain\n", encoding="utf-8")
    del env["APNS_RECORD_KEYS"]
    settings = Settings.from_env({**env, "APNS_RECORD_KEYS_FILE": str(file)})
    assert settings.record_keys.listed == (KEY, None)


@pytest.mark.parametrize(
    ("content", "rule"),
    [(None, "cannot be read (No such file"), (b"\xff", "is not UTF-8"), (b"", "lists nothing"), (b"x:y", "no base64")],
)
def test_files_that_are_none(content: bytes | None, rule: str, env: dict[str, str], tmp_path: Path) -> None:
    """A file that is missing or breaks a rule is a problem that names the file and the rule."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    del env["APNS_RECORD_KEYS"]
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**env, "APNS_RECORD_KEYS_FILE": str(file)})
    (problem,) = caught.value.problems
    assert problem.startswith(f"APNS_RECORD_KEYS_FILE {file}: ")
    assert rule in problem


def test_two_places_for_keys_are_one_too_many(env: dict[str, str], tmp_path: Path) -> None:
    """Keys in the variable and in a file are a problem: nobody could tell which ones hold."""
    with pytest.raises(SettingsError, match="both set"):
        Settings.from_env({**env, "APNS_RECORD_KEYS_FILE": str(tmp_path / "keys")})


@pytest.mark.parametrize(
    ("text", "warned"),
    [("plain", "readable"), (f"plain,one:{ENCODED}", "readable"), (f"one:{ENCODED},plain", "remove")],
)
def test_what_is_unsafe_is_warned_of(text: str, warned: str) -> None:
    """Writing in the clear, or accepting it, is something to be warned of; keys alone are not."""
    (warning,) = record_keys.parse(text).warnings
    assert warned in warning
    assert record_keys.parse(f"one:{ENCODED}").warnings == ()


@pytest.mark.parametrize(("mode", "times"), [(Mode.PRODUCTION, 1), (Mode.DEVELOPMENT, 0)])
def test_a_worker_warns_in_production(
    settings: Settings, mode: Mode, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker of a real fleet that leaves records readable says so when it starts, and shows no key."""
    warn_of_readable_records(replace(settings, mode=mode, record_keys=RecordKeys()))
    warn_of_readable_records(replace(settings, mode=mode))
    told = capsys.readouterr().out
    assert told.count("set APNS_RECORD_KEYS") == times
    assert told.count("records_not_safe") == times
