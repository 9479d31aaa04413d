"""What may stand in the environment and in the configuration file, as pydantic models.

Every field's description completes the sentence "... must be": it is the whole error message for a wrong value, so
that messages say what to write and never depend on pydantic's wording.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dispatcher import record_keys
from dispatcher.guard import Marks
from dispatcher.ids import SHARDS
from dispatcher.settings_urls import checked_broker_url, checked_endpoint, checked_proxy, checked_state_url

AppleId = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{10}$")]
BundleId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$", max_length=155)]
FilePath = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$")]
TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*$", max_length=255)]
Endpoint = Annotated[str, AfterValidator(checked_endpoint)]
Proxy = Annotated[str, AfterValidator(checked_proxy)]

#: What must stand in APNS_RECORD_KEYS, or in the file that stands for it.
RECORD_KEYS_FORM: Final = (
    "a list of keys, each an id, a colon and the output of `openssl rand -base64 32`, or the word plain, "
    "separated by commas; the first one writes, all are read"
)

#: Sections whose tables are named by their user: `[keys.NAME]`; what the name must be.
NAMED_TABLES: Final = {
    "keys": "a key id of Apple, 10 upper-case letters and digits",
    "apps": "a bundle id of letters, digits, hyphens and dots",
}


def _checked_broker(url: SecretStr) -> SecretStr:
    checked_broker_url(url.get_secret_value())
    return url


def _checked_state(url: SecretStr) -> SecretStr:
    checked_state_url(url.get_secret_value())
    return url


def _checked_record_keys(keys: SecretStr) -> SecretStr:
    record_keys.parse(keys.get_secret_value())
    return keys


class Variables(BaseSettings):
    """The environment variables; nothing else in the environment is looked at."""

    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    broker_url: Annotated[SecretStr, AfterValidator(_checked_broker)] = Field(
        validation_alias="APNS_BROKER_URL",
        description="the address of the broker, such as redis://localhost:6379/0",
    )
    state_url: Annotated[SecretStr, AfterValidator(_checked_state)] | None = Field(
        default=None,
        validation_alias="APNS_STATE_URL",
        description="the address of a Redis or Valkey server, such as redis://localhost:6379/1",
    )
    record_keys: Annotated[SecretStr, AfterValidator(_checked_record_keys)] | None = Field(
        default=None,
        validation_alias="APNS_RECORD_KEYS",
        description=RECORD_KEYS_FORM,
    )
    record_keys_file: str | None = Field(
        default=None,
        validation_alias="APNS_RECORD_KEYS_FILE",
        description="the path of a file that holds the keys of APNS_RECORD_KEYS",
    )
    config: str = Field(
        validation_alias="APNS_CONFIG",
        description="the path of the TOML file with your keys and apps",
    )
    mode: Literal["development", "production"] = Field(
        default="development",
        validation_alias="APNS_MODE",
        description="development or production",
    )
    timeout_s: float = Field(
        default=2.0,
        validation_alias="APNS_TIMEOUT",
        gt=0,
        le=60,
        allow_inf_nan=False,
        description="seconds, more than 0 and at most 60",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (the interface of pydantic-settings)
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the values given and none else: whoever reads the settings says which environment is meant."""
        return (init_settings,)


class Section(BaseModel):
    """A table of the configuration file: TOML has types, so none is converted, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class KeySection(Section):
    """`[keys.KEYID]`."""

    team_id: AppleId = Field(description="the id of your team at Apple, 10 upper-case letters and digits")
    file: FilePath = Field(description="the path of the .p8 file, relative to this file")


class AppSection(Section):
    """`[apps."bundle.id"]`."""

    key: str = Field(description="the key id of one of the [keys] tables")
    environment: Literal["production", "sandbox"] = Field(default="production", description='"production" or "sandbox"')
    background_per_hour: int = Field(default=3, ge=0, description="a whole number, 0 or more")
    feedback_task: TaskName | None = Field(default=None, description="the name of a Celery task of yours")
    feedback_queue: str = Field(
        default="celery", min_length=1, description="the name of the queue that its workers read"
    )


class EndpointsSection(Section):
    """`[endpoints]`."""

    production: Endpoint = Field(
        default="https://api.push.apple.com", description='"https://HOST" or "https://HOST:PORT"'
    )
    sandbox: Endpoint = Field(
        default="https://api.sandbox.push.apple.com", description='"https://HOST" or "https://HOST:PORT"'
    )
    ca_file: FilePath | None = Field(default=None, description="the path of a PEM file, relative to this file")


class WorkersSection(Section):
    """`[workers]`."""

    transport: Literal["multiplexed", "aioapns"] = Field(
        default="multiplexed", description='"multiplexed" or "aioapns"'
    )
    connections: int = Field(default=2, ge=1, description="a whole number, 1 or more")
    proxy: Proxy | None = Field(default=None, description='"http://HOST:PORT"')


class EnqueueSection(Section):
    """`[enqueue]`."""

    idempotency_window_s: int = Field(default=86_400, ge=1, le=2_592_000, description="whole seconds, 1 to 2592000")
    max_memory_share: float = Field(
        default=Marks().max_memory_share, gt=0, le=1, description="a number, more than 0 and at most 1"
    )
    max_waiting: int = Field(default=Marks().max_waiting, ge=SHARDS, description=f"a whole number, {SHARDS} or more")
    wait_for_replicas: int = Field(default=0, ge=0, le=16, description="a whole number, 0 to 16")
    replica_timeout_ms: int = Field(default=500, ge=1, le=30_000, description="whole milliseconds, 1 to 30000")


class DevelopmentSection(Section):
    """`[development]`."""

    retry_scale: float = Field(default=1.0, gt=0, le=1, description="a number, more than 0 and at most 1")
    background_spacing_s: float | None = Field(default=None, ge=0, le=3600, description="seconds, 0 to 3600")


class Document(Section):
    """The configuration file."""

    keys: dict[AppleId, KeySection] = Field(default_factory=dict)
    apps: dict[BundleId, AppSection] = Field(default_factory=dict)
    endpoints: EndpointsSection = EndpointsSection()
    workers: WorkersSection = WorkersSection()
    enqueue: EnqueueSection = EnqueueSection()
    development: DevelopmentSection = DevelopmentSection()


#: Section -> the model of its table, or of each of its named tables.
SECTIONS: Final[dict[str, type[Section]]] = {
    "keys": KeySection,
    "apps": AppSection,
    "endpoints": EndpointsSection,
    "workers": WorkersSection,
    "enqueue": EnqueueSection,
    "development": DevelopmentSection,
}
