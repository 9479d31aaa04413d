"""Settings of producers and workers: environment variables and one TOML file, checked whole before anything starts.

Environment variables: `APNS_BROKER_URL`, `APNS_STATE_URL` (default: the broker's server), `APNS_CONFIG` (the path of
the TOML file), `APNS_MODE` (`development`, the default, or `production`), `APNS_TIMEOUT` (seconds, default 2),
`APNS_RECORD_KEYS` or `APNS_RECORD_KEYS_FILE` (see record_keys.py).

Reading them never opens a signing key: producers have none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from dispatcher.errors import NotificationError, SettingsError
from dispatcher.guard import Marks
from dispatcher.push_types import Environment
from dispatcher.record_keys import RecordKeys
from dispatcher.scripts import Clock
from dispatcher.settings_problems import did_you_mean, names
from dispatcher.settings_production import address_problems
from dispatcher.settings_reading import read_document, read_record_keys, read_variables
from dispatcher.settings_replicas import Replicas, replica_problems, replicas
from dispatcher.settings_schema import Document, Variables
from dispatcher.settings_urls import masked_url, state_url_of
from dispatcher.settings_values import App, Endpoints, Mode, SigningKey, WorkerSettings

__all__ = ["App", "Endpoints", "Mode", "Replicas", "Settings", "SigningKey", "WorkerSettings", "masked_url"]

_HOUR_S: Final = 3600.0
_ADDRESSES: Final = ("APNS_BROKER_URL", "APNS_STATE_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything configured; immutable, and fit to print: passwords are hidden.

    Attributes:
        mode: How strict we are.
        broker_url: For Celery; several are separated by semicolons.
        state_url: As `topology.py` understands it.
        timeout_s: How long a producer's call may take.
        apps: By bundle id; at least one.
        keys: By key id.
        endpoints: Where APNs is.
        workers: How workers send.
        record_keys: What records are sealed with; producers and workers of a fleet share it.
        idempotency_window_s: How long an idempotency key is remembered, in seconds.
        marks: When the state server or a queue is too full to take more.
        replicas: Who has to confirm what is accepted; None for nobody else.
        retry_scale: What every retry delay is multiplied by; 1 in production.
        config_file: Where apps and keys were read from, an absolute path.
    """

    mode: Mode
    broker_url: SecretStr
    state_url: SecretStr
    timeout_s: float
    apps: Mapping[str, App]
    keys: Mapping[str, SigningKey]
    endpoints: Endpoints
    workers: WorkerSettings
    record_keys: RecordKeys
    idempotency_window_s: int
    marks: Marks
    replicas: Replicas | None
    retry_scale: float
    config_file: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read and check the settings; a variable that is set to nothing counts as not set.

        Args:
            env: The environment variables; None for those of the process.

        Raises:
            SettingsError: Something is wrong; lists every problem with the variable, or the file and line, to change.
        """
        given = {name: value for name, value in (os.environ if env is None else env).items() if value}
        variables, problems = read_variables(given)
        production = given.get("APNS_MODE") == Mode.PRODUCTION
        if production:
            problems += _address_problems(given, problems)
        document = None
        if config := given.get("APNS_CONFIG"):
            document, file_problems = read_document(Path(config), production=production)
            problems += file_problems
        state_url = _state_url(variables, problems) if variables else None
        if variables and document:
            problems += replica_problems(variables, document.enqueue)
        keys, key_problems = read_record_keys(variables) if variables else (RecordKeys(), [])
        problems += key_problems
        if problems or variables is None or document is None or state_url is None:
            raise SettingsError(problems)
        return _settings(variables, document, state_url, keys)

    @property
    def is_production(self) -> bool:
        """Whether everything that could lose or leak something is refused."""
        return self.mode is Mode.PRODUCTION

    @property
    def clock(self) -> Clock:
        """Whose seconds the state server counts: its own in production, which nobody can shift."""
        return {Mode.DEVELOPMENT: Clock.SHIFTED, Mode.PRODUCTION: Clock.SERVER}[self.mode]

    def app(self, bundle_id: str) -> App:
        """Return a configured app.

        Raises:
            NotificationError: It is not configured; names the apps that are.
        """
        try:
            return self.apps[bundle_id]
        except KeyError as exc:
            rule = f"is not configured; configured apps: {names(self.apps)}{did_you_mean(bundle_id, self.apps)}"
            raise NotificationError("app", rule) from exc


def _state_url(variables: Variables, problems: list[str]) -> SecretStr | None:
    """Return where state is kept; adds a problem when the broker's server cannot keep it."""
    if variables.state_url is not None:
        return variables.state_url
    broker_url = variables.broker_url.get_secret_value()
    state_url = state_url_of(broker_url)
    if state_url is None:
        mend = "set it to the address of a Redis or Valkey server, such as redis://localhost:6379/1"
        problems.append(f"APNS_STATE_URL is not set, and {masked_url(broker_url)} can only be a broker; {mend}")
        return None
    return SecretStr(state_url)


def _address_problems(given: Mapping[str, str], problems: Sequence[str]) -> list[str]:
    """Return what production refuses of the addresses that can be read; the others are among the problems already."""
    readable = [name for name in _ADDRESSES if name in given and not any(each.startswith(name) for each in problems)]
    return [problem for name in readable for problem in address_problems(name, given[name])]


def _settings(variables: Variables, document: Document, state_url: SecretStr, record_keys: RecordKeys) -> Settings:
    directory = Path(variables.config).absolute().parent
    endpoints = document.endpoints
    keys = {
        key_id: SigningKey(key_id=key_id, team_id=key.team_id, file=directory / key.file)
        for key_id, key in document.keys.items()
    }
    apps = {
        bundle_id: App(
            bundle_id=bundle_id,
            key_id=app.key,
            environment=Environment(app.environment),
            background_per_hour=app.background_per_hour,
            background_spacing_s=_spacing_s(app.background_per_hour, document.development.background_spacing_s),
            feedback_task=app.feedback_task,
            feedback_queue=app.feedback_queue,
        )
        for bundle_id, app in document.apps.items()
    }
    return Settings(
        mode=Mode(variables.mode),
        broker_url=variables.broker_url,
        state_url=state_url,
        timeout_s=variables.timeout_s,
        apps=MappingProxyType(apps),
        keys=MappingProxyType(keys),
        endpoints=Endpoints(
            production=endpoints.production,
            sandbox=endpoints.sandbox,
            ca_file=directory / endpoints.ca_file if endpoints.ca_file else None,
        ),
        workers=WorkerSettings(
            transport=document.workers.transport,
            connections=document.workers.connections,
            proxy=document.workers.proxy,
        ),
        record_keys=record_keys,
        idempotency_window_s=document.enqueue.idempotency_window_s,
        marks=Marks(max_memory_share=document.enqueue.max_memory_share, max_waiting=document.enqueue.max_waiting),
        replicas=replicas(document.enqueue),
        retry_scale=document.development.retry_scale,
        config_file=Path(variables.config).absolute(),
    )


def _spacing_s(per_hour: int, in_development: float | None) -> float:
    """Return the seconds between two background notifications: even spacing keeps every hour within the budget."""
    if in_development is not None:
        return in_development
    return _HOUR_S / per_hour if per_hour else 0.0
