"""The teams, signing keys and topics that exist in the simulator, and what it writes for its users to work with.

A directory that was used before is taken as it is: keys and certificates stay, so that a restart goes unnoticed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dispatcher.errors import SettingsError
from dispatcher.push_types import PUSH_TYPES, Environment

CONFIG_FILE: Final = "apns.toml"
TEAM_A: Final = "TEAMAAAAAA"
TEAM_B: Final = "TEAMBBBBBB"


class KeyKind(StrEnum):
    """Apple's kinds of signing key: what each may be used for, and what it ties a connection to."""

    LEGACY = "legacy"
    TEAM = "team"
    TOPIC = "topic"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A signing key as registered with Apple.

    Attributes:
        family: Keys of one family may follow each other on a connection.
        environment: The one it works in; None for both.
        bundle_ids: The apps it may push to; empty for all of its team.
    """

    key_id: str
    team_id: str
    kind: KeyKind
    family: str
    environment: Environment | None = None
    bundle_ids: frozenset[str] = frozenset()

    def may_push_to(self, app: App) -> bool:
        """Tell whether Apple lets this key push to an app."""
        return app.team_id == self.team_id and (not self.bundle_ids or app.bundle_id in self.bundle_ids)

    def may_be_followed_by(self, other: SigningKey) -> bool:
        """Tell whether a connection first used with this key takes another of the same team."""
        return self.kind is KeyKind.LEGACY or self.family == other.family


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An app, the team that owns it, and the key the written configuration gives it.

    Attributes:
        since: Age of the world when it was registered.
    """

    bundle_id: str
    team_id: str
    key_id: str
    since: int = 0

    @property
    def has_broadcast(self) -> bool:
        """Whether its broadcast capability is on."""
        return self.bundle_id not in WITHOUT_BROADCAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A value of apns-topic: an app and the suffix of a push type."""

    app: App
    suffix: str


@dataclass(slots=True, kw_only=True)
class World:
    """Everything registered with this Apple.

    Attributes:
        signing_keys: By key id.
        public_keys: By key id.
        topics: By the value of apns-topic.
        revoked: Key ids that are good no more.
        age: Apps registered since the simulator started; a connection knows those of its first push.
    """

    signing_keys: Mapping[str, SigningKey]
    public_keys: Mapping[str, ec.EllipticCurvePublicKey]
    topics: dict[str, Topic]
    revoked: set[str] = field(default_factory=set)
    age: int = 0

    def add_app(self, bundle_id: str, team_id: str = TEAM_A) -> None:
        """Register an app now; connections that have pushed before do not know it."""
        self.age += 1
        self.topics.update(_topics([App(bundle_id=bundle_id, team_id=team_id, key_id="", since=self.age)]))

    def revoke(self, key_id: str) -> None:
        """Revoke a signing key."""
        self.revoked.add(key_id)


_PRODUCTION: Final = Environment.PRODUCTION
_TOPIC_1: Final = frozenset({"com.ex.a"})
_TOPIC_2: Final = frozenset({"com.ex.b"})

SIGNING_KEYS: Final = (
    SigningKey(key_id="KEYLEGACY0", team_id=TEAM_A, kind=KeyKind.LEGACY, family="legacy"),
    SigningKey(key_id="KEYTEAMPRO", team_id=TEAM_A, kind=KeyKind.TEAM, family="team", environment=_PRODUCTION),
    SigningKey(
        key_id="KEYTEAMSBX", team_id=TEAM_A, kind=KeyKind.TEAM, family="sandbox", environment=Environment.SANDBOX
    ),
    SigningKey(
        key_id="KEYTOPIC1A",
        team_id=TEAM_A,
        kind=KeyKind.TOPIC,
        family="topic 1",
        environment=_PRODUCTION,
        bundle_ids=_TOPIC_1,
    ),
    SigningKey(
        key_id="KEYTOPIC1B",
        team_id=TEAM_A,
        kind=KeyKind.TOPIC,
        family="topic 1",
        environment=_PRODUCTION,
        bundle_ids=_TOPIC_1,
    ),
    SigningKey(
        key_id="KEYTOPIC2A",
        team_id=TEAM_A,
        kind=KeyKind.TOPIC,
        family="topic 2",
        environment=_PRODUCTION,
        bundle_ids=_TOPIC_2,
    ),
    SigningKey(key_id="KEYTEAMBBB", team_id=TEAM_B, kind=KeyKind.LEGACY, family="legacy"),
)
APPS: Final = (
    App(bundle_id="com.example.app", team_id=TEAM_A, key_id="KEYLEGACY0"),
    App(bundle_id="com.example.other", team_id=TEAM_A, key_id="KEYLEGACY0"),
    App(bundle_id="com.example.third", team_id=TEAM_B, key_id="KEYTEAMBBB"),
    App(bundle_id="com.ex.a", team_id=TEAM_A, key_id="KEYLEGACY0"),
    App(bundle_id="com.ex.b", team_id=TEAM_A, key_id="KEYLEGACY0"),
)
#: Apps whose broadcast capability is off.
WITHOUT_BROADCAST: Final = frozenset({"com.ex.b"})


def open_world(directory: Path) -> World:
    """Return the world of a directory, creating the signing keys that are missing.

    Apps that were added to the directory's configuration file, with one of the keys there, exist too.

    Raises:
        SettingsError: A file of the directory cannot be used.
    """
    apps = {app.bundle_id: app for app in (*APPS, *_added_apps(directory / CONFIG_FILE))}
    return World(
        signing_keys={signing_key.key_id: signing_key for signing_key in SIGNING_KEYS},
        public_keys={each.key_id: _open_public_key(directory / key_file(each.key_id)) for each in SIGNING_KEYS},
        topics=_topics(apps.values()),
    )


def key_file(key_id: str) -> str:
    """Return the file name that Apple gives a signing key."""
    return f"AuthKey_{key_id}.p8"


def write_private(path: Path, content: bytes) -> None:
    """Create a file that only its owner may read."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def _open_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    if not path.exists():
        write_private(path, _make_key())
    try:
        private_key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as exc:
        raise SettingsError([f"{path.name} is not a signing key; remove it, and a new one is made"]) from exc
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise SettingsError([f"{path.name} is not an elliptic curve key; remove it, and a new one is made"])
    return private_key.public_key()


def _make_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _added_apps(config_file: Path) -> Iterable[App]:
    teams = {signing_key.key_id: signing_key.team_id for signing_key in SIGNING_KEYS}
    for bundle_id, app in _read_config(config_file).get("apps", {}).items():
        key_id = app.get("key")
        if key_id in teams:
            yield App(bundle_id=bundle_id, team_id=teams[key_id], key_id=key_id)


def _read_config(config_file: Path) -> dict[str, Any]:
    if not config_file.exists():
        return {}
    try:
        return tomllib.loads(config_file.read_text())
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError([f"{config_file.name}: {exc}"]) from exc


def _topics(apps: Iterable[App]) -> dict[str, Topic]:
    suffixes = {push_type.topic_suffix for push_type in PUSH_TYPES.values()}
    return {app.bundle_id + suffix: Topic(app=app, suffix=suffix) for app in apps for suffix in suffixes}
