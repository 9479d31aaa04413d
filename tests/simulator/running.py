"""A simulator that a test's own thread asks, and a clock to move."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import jwt

from dispatcher.dev.simulator import STRICT, SimulatorSettings, SimulatorThread, device_token
from tests.simulator.client import TIMEOUT_S, Client

EPOCH = 1_800_000_000.0
DEVICE_TOKEN = device_token(1)


@dataclass(slots=True)
class Clock:
    """Simulated time that stands still until it is moved."""

    now: float = EPOCH

    def __call__(self) -> float:
        """Return simulated Unix seconds."""
        return self.now


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the request log up to its last whole line."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class RunningSimulator(SimulatorThread):
    """A simulator on a loop and thread of its own, asked from the test's thread."""

    def __init__(self, directory: Path, settings: SimulatorSettings, clock: Clock, requests_file: Path | None) -> None:
        self.clock = clock
        self.requests_file = requests_file
        super().__init__(directory, settings=settings, clock=clock, requests_file=requests_file)

    def connect(
        self,
        *,
        acknowledges: bool = True,
        source: str = "",
        certificate: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> Client:
        """Open a connection, from an address if one is given, and with the certificate of an environment."""
        return Client(
            self.simulator.port,
            self.directory / "ca.pem",
            acknowledges=acknowledges,
            source=source,
            timeout_s=timeout_s,
            certificate=self.directory / f"client-{certificate}.pem" if certificate else None,
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return the request log."""
        assert self.requests_file is not None
        return whole_lines(self.requests_file)

    def sign(self, key_id: str = "KEYLEGACY0", team_id: str = "TEAMAAAAAA", *, age_s: float = 0) -> str:
        """Return a provider token of one of the directory's keys."""
        signing_key = (self.directory / f"AuthKey_{key_id}.p8").read_text()
        claims = {"iss": team_id, "iat": int(self.clock.now - age_s)}
        return jwt.encode(claims, signing_key, algorithm="ES256", headers={"kid": key_id})

    @cached_property
    def provider_token(self) -> str:
        """One valid provider token of the key that may do everything."""
        return self.sign()

    def headers(
        self, *, device_token: str | None = None, provider_token: str | None = None, **changes: str | None
    ) -> list[tuple[str, str]]:
        """Return the headers of a push that Apple accepts, but for what is changed; None leaves one out.

        Names are written with underscores: `apns_topic="com.ex.a"`, `method="GET"`.
        """
        headers: dict[str, str | None] = {
            ":method": "POST",
            ":scheme": "https",
            ":authority": "127.0.0.1",
            ":path": f"/3/device/{DEVICE_TOKEN if device_token is None else device_token}",
            "authorization": f"bearer {provider_token or self.provider_token}",
            "apns-topic": "com.ex.a",
            "apns-push-type": "alert",
            "apns-id": str(uuid.uuid4()),
        }
        for name, value in changes.items():
            headers[f":{name}" if f":{name}" in headers else name.replace("_", "-")] = value
        return [(name, value) for name, value in headers.items() if value is not None]


class Run(Protocol):
    """Start a simulator that is stopped after the test."""

    def __call__(self, settings: SimulatorSettings = STRICT, where: Path | None = None) -> RunningSimulator:
        """Return it, running."""
        ...
