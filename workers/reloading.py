"""Take up apps and signing keys that were changed in the configuration while workers run: nothing is lost by it.

Everything else in the configuration needs a restart. A file that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from dispatcher.errors import SettingsError
from dispatcher.settings import App, Settings
from workers.key_files import LoadedKey, load_signing_keys
from workers.signing import ProviderTokens

LOOK_EVERY_S: Final = 2.0

_Stamp = tuple[tuple[str, int, int, int], ...]

log = structlog.get_logger()


class LiveApps(Mapping[str, App]):
    """The apps of a process by bundle id; everybody who holds it sees the newest."""

    def __init__(self, apps: Mapping[str, App]) -> None:
        self._apps = apps

    def replace(self, apps: Mapping[str, App]) -> None:
        """Take others from now on."""
        self._apps = apps

    def __getitem__(self, bundle_id: str) -> App:
        return self._apps[bundle_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._apps)

    def __len__(self) -> int:
        return len(self._apps)


@dataclass(slots=True, kw_only=True)
class Reloader:
    """Watches the configuration of one process.

    Attributes:
        settings: What is in force.
        read: Reads the settings again; raises SettingsError.
        apps: What attempts look up.
        tokens: What signs.
        drain: Called with each key id whose connections must not be used any more.
        look_every_s: How often to look for changes, in seconds.
    """

    settings: Settings
    read: Callable[[], Settings]
    apps: LiveApps
    tokens: ProviderTokens
    drain: Callable[[str], None]
    look_every_s: float = LOOK_EVERY_S
    _stamp: _Stamp | None = None
    _told: str = ""

    async def keep_watching(self) -> None:
        """Look again and again, until cancelled."""
        self._stamp = _stamp_of(self.settings)
        while True:
            await asyncio.sleep(self.look_every_s)
            if self._stamp is None or _stamp_of(self.settings) != self._stamp:
                await self.reload()

    async def reload(self) -> bool:
        """Read everything again and take it up; False when it cannot be used."""
        try:
            settings, loaded_keys = await asyncio.to_thread(self._load)
        except SettingsError as exc:
            self._stamp = None  # the file that mends it need not be one that is watched
            if str(exc) != self._told:
                self._told = str(exc)
                log.error("settings_not_reloaded", problems=str(exc))  # noqa: TRY400  the message says all
            return False
        self._stamp, self._told = _stamp_of(settings), ""
        self._take_up(settings, loaded_keys)
        return True

    def _load(self) -> tuple[Settings, Mapping[str, LoadedKey]]:
        settings = self.read()
        return settings, load_signing_keys(settings)

    def _take_up(self, settings: Settings, loaded_keys: Mapping[str, LoadedKey]) -> None:
        """Change apps and keys in one turn of the loop; what is in flight is still answered."""
        unused = _used_keys(self.settings.apps.values()) - _used_keys(settings.apps.values())
        changed = self.tokens.replace(loaded_keys)
        self.apps.replace(settings.apps)
        for key_id in changed | unused:
            self.drain(key_id)
        if replace(settings, apps=self.settings.apps, keys=self.settings.keys) != self.settings:
            log.warning("settings_need_restart")
        self.settings = settings
        log.info("settings_reloaded", apps=len(settings.apps), changed_keys=sorted(changed), unused_keys=sorted(unused))


def _used_keys(apps: Iterable[App]) -> set[str]:
    return {app.key_id for app in apps}


def _stamp_of(settings: Settings) -> _Stamp:
    """Return what changes when the configuration or a signing key is written."""
    files = [settings.config_file, *(key.file for key in settings.keys.values())]
    return tuple(_stamp_of_file(file) for file in files)


def _stamp_of_file(file: Path) -> tuple[str, int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), status.st_mtime_ns, status.st_size, status.st_ino
