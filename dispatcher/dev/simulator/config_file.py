"""Write the configuration with which a dispatcher talks to this simulator instead of Apple."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dispatcher.dev.simulator.certificates import CA_FILE
from dispatcher.dev.simulator.world import APPS, CONFIG_FILE, SIGNING_KEYS, key_file
from dispatcher.push_types import Environment

#: Every retry delay is multiplied with it: Apple's 15 minutes become 1.8 s.
RETRY_SCALE: Final = 0.002

_OWN_URL: Final = re.compile(r"https://127\.0\.0\.1:\d+")


def write_config(directory: Path, *, url: str, environment: Environment) -> None:
    """Write apns.toml, or put the simulator's present address into the one that is there."""
    path = directory / CONFIG_FILE
    if path.exists():
        # Whoever added an app keeps it; only the port may have changed since.
        path.write_text(_OWN_URL.sub(url, path.read_text()))
    else:
        path.write_text("\n".join(_lines(url, environment)))


def set_development(config_file: Path, values: Mapping[str, float | None]) -> None:
    """Put settings into the table [development] of a configuration file; those that are None stay as they are."""
    text = config_file.read_text(encoding="utf-8")
    for name, value in values.items():
        if value is not None:
            without = re.sub(rf"(?m)^{name} = .*\n", "", text)
            text = without.replace("[development]\n", f"[development]\n{name} = {value}\n")
    config_file.write_text(text, encoding="utf-8")


def _lines(url: str, environment: Environment) -> Iterator[str]:
    for signing_key in SIGNING_KEYS:
        key_id, team_id = signing_key.key_id, signing_key.team_id
        yield from (f"[keys.{key_id}]", f'team_id = "{team_id}"', f'file = "{key_file(key_id)}"', "")
    for app in APPS:
        yield from (f'[apps."{app.bundle_id}"]', f'key = "{app.key_id}"', f'environment = "{environment}"', "")
    yield from ("[endpoints]", f'production = "{url}"', f'sandbox = "{url}"', f'ca_file = "{CA_FILE}"', "")
    yield from ("[development]", f"retry_scale = {RETRY_SCALE}", "")
