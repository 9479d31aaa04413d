"""What settings are made of: immutable, checked by whoever makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dispatcher.push_types import Environment


class Mode(StrEnum):
    """How strict we are; not Apple's environment.

    Development is the default because production only refuses more (open key files, shortened retries, an embedded
    server): it never changes what is sent or where to, so a first start works and a deployment opts into refusals.
    """

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A signing key, unread.

    Attributes:
        key_id: Apple's id of the key.
        team_id: The team it belongs to.
        file: Its .p8, an absolute path.
    """

    key_id: str
    team_id: str
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An app whose devices are pushed to.

    Attributes:
        bundle_id: Its name everywhere.
        key_id: The signing key that may push to it; always one of `Settings.keys`.
        environment: Where its device tokens belong unless a notification says otherwise.
        background_per_hour: How many background notifications a device gets per hour; 0 for no limit.
        background_spacing_s: Seconds between two of them.
        feedback_task: The Celery task of the web app's own that is called when there is feedback; None for none.
        feedback_queue: The queue that its workers read.
    """

    bundle_id: str
    key_id: str
    environment: Environment
    background_per_hour: int
    background_spacing_s: float
    feedback_task: str | None = None
    feedback_queue: str = "celery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where APNs is, or its stand-in.

    Attributes:
        production: `https://HOST` or `https://HOST:PORT`, without a path.
        sandbox: The same for the sandbox.
        ca_file: The only authority trusted there, an absolute path; None for those of the system.
    """

    production: str
    sandbox: str
    ca_file: Path | None

    def url(self, environment: Environment) -> str:
        """Return the address that serves an environment."""
        return {Environment.PRODUCTION: self.production, Environment.SANDBOX: self.sandbox}[environment]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How workers send.

    Attributes:
        transport: Which implementation of the transport.
        connections: The most connections to APNs of one process for one environment and key.
        proxy: `http://HOST:PORT` that all of them go through; None for none.
    """

    transport: str
    connections: int
    proxy: str | None
