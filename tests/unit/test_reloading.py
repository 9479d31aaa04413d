"""Apps and keys that are changed while workers run are taken up whole, or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.errors import SigningError
from dispatcher.settings import Settings
from workers.key_files import load_signing_keys
from workers.reloading import LiveApps, Reloader
from workers.signing import ProviderTokens

APP, OTHER = "com.example.app", "com.example.third"
OLD, NEW = "KEYLEGACY0", "KEYTEAMPRO"
NOW = 1_800_000_000.0 + 600


class Watched:
    """A configuration that a process watches.

    Attributes:
        config: Its file.
        drained: The key ids whose connections had to go.
    """

    def __init__(self, config: Path) -> None:
        self.config = config
        self.drained: list[str] = []
        self._env = {"APNS_BROKER_URL": "redis://127.0.0.1:1/0", "APNS_CONFIG": str(config)}
        settings = self.read()
        self.apps, self.tokens = LiveApps(settings.apps), ProviderTokens(load_signing_keys(settings))
        self.reloader = Reloader(
            settings=settings, read=self.read, apps=self.apps, tokens=self.tokens, drain=self.drained.append
        )

    def read(self) -> Settings:
        """Read the settings."""
        return Settings.from_env(self._env)

    def change(self, change: Callable[[str], str]) -> None:
        """Change the file."""
        self.config.write_text(change(self.config.read_text(encoding="utf-8")), encoding="utf-8")

    def reload(self) -> bool:
        """Take the change up."""
        return asyncio.run(self.reloader.reload())


@pytest.fixture
def watched(apns_config: Path, tmp_path: Path) -> Watched:
    """Watch a configuration of the test's own."""
    shutil.copytree(apns_config.parent, tmp_path / "apns")
    return Watched(tmp_path / "apns" / apns_config.name)


def test_a_new_key_id_is_taken_up(watched: Watched) -> None:
    """An app that is given another key is sent under it; the connections of the key that is used no more go."""
    watched.change(lambda text: text.replace(f'key = "{OLD}"', f'key = "{NEW}"'))
    assert watched.reload()
    assert watched.apps[APP].key_id == NEW
    assert watched.drained == [OLD]


def test_a_changed_key_file_is_taken_up(watched: Watched) -> None:
    """Another key in the same file signs from now on, over new connections; other keys keep their tokens."""
    before, kept = (watched.tokens.current(key_id, NOW) for key_id in (OLD, NEW))
    directory = watched.config.parent
    shutil.copy(directory / f"AuthKey_{NEW}.p8", directory / f"AuthKey_{OLD}.p8")
    assert watched.reload()
    assert watched.drained == [OLD]
    assert watched.tokens.current(OLD, NOW).jwt != before.jwt
    assert watched.tokens.current(NEW, NOW) is kept


def test_an_app_can_be_added_and_removed(watched: Watched) -> None:
    """An app that is new is known, one that is gone is not, nor its key if nobody else uses it."""
    watched.change(lambda text: text.replace(OTHER, "com.example.new"))
    assert watched.reload()
    assert ("com.example.new" in watched.apps, OTHER in watched.apps) == (True, False)
    assert watched.drained == []
    directory = watched.config.parent
    shutil.copy(directory / "AuthKey_KEYTEAMBBB.p8", directory / "AuthKey_KEYTEAMCCC.p8")
    watched.change(lambda text: text.replace('"KEYTEAMBBB"', f'"{OLD}"').replace("KEYTEAMBBB", "KEYTEAMCCC"))
    assert watched.reload()
    assert set(watched.drained) == {"KEYTEAMBBB", "KEYTEAMCCC"}
    with pytest.raises(SigningError):
        watched.tokens.current("KEYTEAMBBB", NOW)


@pytest.mark.parametrize("break_it", [lambda text: text + "[keys", lambda text: text.replace(".p8", ".p9")])
def test_a_broken_file_changes_nothing(
    watched: Watched, break_it: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read, or names a key that is not there, is told once, and the old settings go on."""
    whole = watched.config.read_text(encoding="utf-8")
    watched.change(break_it)
    assert [watched.reload(), watched.reload()] == [False, False]
    assert capsys.readouterr().out.count("settings_not_reloaded") == 1
    assert (watched.apps[APP].key_id, watched.drained) == (OLD, [])
    watched.change(lambda _: whole.replace(f'key = "{OLD}"', f'key = "{NEW}"'))
    assert watched.reload()
    assert watched.apps[APP].key_id == NEW


def test_what_needs_a_restart_is_told(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that are not taken up while workers run are told of."""
    watched.change(lambda text: text + "[workers]\nconnections = 7\n")
    assert watched.reload()
    assert "settings_need_restart" in capsys.readouterr().out


def test_a_change_is_noticed(watched: Watched) -> None:
    """Watching takes up a change within a look or two, even one that keeps size and content."""
    watched.reloader.look_every_s = 0.01

    async def run() -> None:
        watching = asyncio.create_task(watched.reloader.keep_watching())
        await asyncio.sleep(0)
        watched.change(lambda text: text.replace(f'key = "{OLD}"', f'key = "{NEW}"'))
        os.utime(watched.config, ns=(1, 1))
        async with asyncio.timeout(5):
            while watched.apps[APP].key_id != NEW:  # noqa: ASYNC110  what is waited for happens in a thread
                await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(run())
