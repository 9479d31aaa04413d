"""Read cases.toml, run a case, and say in words what was answered."""

from __future__ import annotations

import re
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.dev.simulator import OBSERVED, STRICT, SimulatorSettings, device_token
from dispatcher.dev.simulator.setting_texts import with_setting
from dispatcher.push_types import Environment
from tests.simulator import probes
from tests.simulator.provider_tokens import ProviderTokens

if TYPE_CHECKING:
    from tests.simulator.client import Client, Reply
    from tests.simulator.running import RunningSimulator

FILE = Path(__file__).with_name("cases.toml")
PROFILES = {"strict": STRICT, "observed": OBSERVED}
SILENCE_S = 0.15
UNREGISTERED_AT = 1_700_000_000.0
PAYLOAD = '{"aps":{"alert":"hi"}}'
TOKENS = {
    name: device_token(900 + number) for number, name in enumerate(("TA", "TV", "TB", "TX", "TE", "TS", "TZ", "TN"))
} | {"LA": "a" * 160}
TOPICS = {
    "TA": "com.ex.a",
    "TV": "com.ex.a.voip",
    "TB": "com.ex.b",
    "TX": "com.ex.a",
    "TE": "com.ex.a",
    "TS": "com.ex.a",
    "LA": "com.ex.a.push-type.liveactivity",
    "TN": "com.ex.new",
}
BASES: dict[str, tuple[dict[str, str], str]] = {
    "push": (
        {":path": "/3/device/$TO", "apns-topic": "com.ex.a", "apns-push-type": "alert", "apns-id": "$uuid"},
        PAYLOAD,
    ),
    "channels": (
        {":path": "/1/apps/com.ex.a/channels", "apns-request-id": "$uuid"},
        '{"message-storage-policy":1,"push-type":"LiveActivity"}',
    ),
    "broadcast": (
        {
            ":path": "/4/broadcasts/apps/com.ex.a",
            "apns-channel-id": "$channel",
            "apns-push-type": "liveactivity",
            "apns-expiration": "0",
            "apns-priority": "10",
            "apns-request-id": "$uuid",
        },
        '{"aps":{"event":"update","timestamp":1800000000,"content-state":{}}}',
    ),
}
_VARIABLE = re.compile(r"\$(now_ms|now([+-]\d+)?|uuid|UUID|channel|UPPER_TA|x\d+|TO|T[ABENSVXZ]|LA)")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the file."""

    group: str
    row: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the list of Apple's rules calls it."""
        return str(self.row["id"])

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Its requests; what a case says of itself goes for a case of one step."""
        steps: list[dict[str, Any]] = self.row.get("steps", [dict(self.row)])
        return steps

    def expected(self, profile: str) -> list[str]:
        """What each step is answered in a profile."""
        return [str(step["observed" if profile in step else "answer"]) for step in self.steps]

    def settings(self, profile: str) -> SimulatorSettings:
        """The simulator's settings: the fixture world at production, but for what the case says."""
        world = replace(PROFILES[profile], environment=Environment.PRODUCTION, knows_every_device_token=False)
        for name, value in self.row.get("settings", {}).items():
            world = with_setting(world, name, str(value))
        return world


def read_cases() -> list[Case]:
    """Return all cases, in order."""
    groups = tomllib.loads(FILE.read_text())
    return [Case(group=group, row=row) for group, rows in groups.items() for row in rows]


def run_case(case: Case, apns: RunningSimulator) -> list[str]:
    """Return what each step of a case was answered."""
    probe = case.row.get("probe")
    if probe is not None:
        return [str(getattr(probes, probe)(apns))]
    with ExitStack() as stack:
        return list(_Runner(case, apns, stack).outcomes())


class _Runner:
    """The state between the steps of a case: its connections, clock and the last channel."""

    def __init__(self, case: Case, apns: RunningSimulator, stack: ExitStack) -> None:
        self._case = case
        self._apns = apns
        self._stack = stack
        self._clients: dict[str, Client] = {}
        self._provider_tokens = ProviderTokens(apns)
        self._channel = ""

    def outcomes(self) -> Iterator[str]:
        """Run the steps one after the other."""
        self._build_world()
        if "fault" in self._case.row:
            self._apns.faults.add(self._case.row["fault"])
        for step in self._case.steps:
            self._apns.clock.now += step.get("wait_s", 0)
            self._act(step.get("do", ""))
            outcomes = {self._outcome(step) for _ in range(step.get("times", 1))}
            yield " or ".join(sorted(outcomes))

    def _build_world(self) -> None:
        registrations = self._apns.simulator.registrations
        for name, topic in TOPICS.items():
            environment = Environment.SANDBOX if name == "TS" else Environment.PRODUCTION
            registrations.register(TOKENS[name], topic=topic, environment=environment)
        registrations.unregister(TOKENS["TX"], died_at=UNREGISTERED_AT)
        registrations.unregister(TOKENS["TE"], died_at=UNREGISTERED_AT, reason="ExpiredToken")

    def _act(self, what: str) -> None:
        verb, _, whom = what.partition(" ")
        match verb:
            case "revoke":
                self._apns.simulator.world.revoke(whom)
            case "add_app":
                self._apns.simulator.world.add_app(whom)
            case "register":
                self._apns.simulator.registrations.register(TOKENS[whom])
            case "uninstall":
                self._apns.phone(TOKENS[whom]).uninstall()
            case _:
                assert not verb, f"a case cannot {verb}"

    def _outcome(self, step: Mapping[str, Any]) -> str:
        client = self._client(step)
        headers, body = self._request(step)
        logged = len(self._apns.lines())
        if client.goaways:
            return _told(client)
        reply = client.replies[client.start(headers, body)]
        if not self._is_answered(client, reply):
            return "never answered"
        if not reply.is_whole:
            return _told(client)
        self._channel = reply.headers.get("apns-channel-id", self._channel)
        faults = [*self._wrong(step, client, reply), *self._wrong_log(step, logged)]
        return "; ".join((_said(client, reply), *faults))

    def _is_answered(self, client: Client, reply: Reply) -> bool:
        def is_over() -> bool:
            return reply.is_whole or bool(client.goaways)

        if self._case.row.get("fault") == "silence":
            return client.receives(is_over, SILENCE_S)
        client.receive_until(is_over)
        if client.goaways and not reply.is_whole:
            client.receives(lambda: reply.is_whole or client.is_closed, SILENCE_S)
        return True

    def _client(self, step: Mapping[str, Any]) -> Client:
        name = step.get("on", "")
        if name == "*" or name not in self._clients:
            client = self._apns.connect(source=step.get("from", ""), certificate=step.get("certificate", ""))
            self._clients[name] = self._stack.enter_context(client)
            client.receives(lambda: bool(client.goaways), SILENCE_S if step.get("certificate") else 0.001)
        return self._clients[name]

    def _request(self, step: Mapping[str, Any]) -> tuple[list[tuple[str, str]], bytes]:
        base, body = BASES[step.get("base", "push")]
        recipe = step.get("jwt", {})
        authorization = f"{recipe.get('scheme', 'bearer')} {self._provider_tokens.make(recipe)}"
        headers: dict[str, str | bool] = {":method": "POST", ":scheme": "https", ":authority": "127.0.0.1", **base}
        headers |= {"authorization": authorization, **step.get("headers", {})}
        home = "TS" if self._case.row.get("settings", {}).get("environment") == "sandbox" else "TA"
        to = step.get("to", home)
        fields = [(name, self._text(str(value), to)) for name, value in headers.items() if value is not False]
        if "twice" in step:
            fields.append((step["twice"], str(headers[step["twice"]])))
        if "size" in step:
            body = PAYLOAD.replace("hi", "x" * (step["size"] - len(PAYLOAD) + 2))
        return fields, str(step.get("body", body)).encode()

    def _text(self, text: str, to: str = "TA") -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("now"):
                return str(int(self._apns.clock.now) * 1000 if name == "now_ms" else self._now(found[2]))
            if name.startswith("x"):
                return "x" * int(name[1:])
            made = {"uuid": str(uuid.uuid4()), "channel": self._channel, "UPPER_TA": TOKENS["TA"].upper()}
            return (made | TOKENS | {"TO": TOKENS[to]})[name]

        return _VARIABLE.sub(value, text)

    def _now(self, offset: str | None) -> int:
        return int(self._apns.clock.now) + int(offset or 0)

    def _wrong(self, step: Mapping[str, Any], client: Client, reply: Reply) -> Iterator[str]:
        """Say in which of the finer points an answer differs from the case."""
        yield from (f"without {name}" for name in step.get("has", ()) if name not in reply.headers)
        yield from (f"with {name}" for name in step.get("lacks", ()) if name in reply.headers)
        if self._text(step.get("says_body", reply.body.decode())) != reply.body.decode():
            yield f"body {reply.body.decode()}"
        if step.get("streams", client.max_streams) != client.max_streams:
            yield f"{client.max_streams} streams"
        echoed = reply.headers.get("apns-id", "")
        if step.get("echoes", echoed) not in {echoed, "NEW"} or ("echoes" in step and echoed in {"", "123"}):
            yield f"apns-id {echoed}"
        if step.get("echoes") == "NEW" and echoed != str(uuid.UUID(echoed)).upper():
            yield "apns-id not in upper case"

    def _wrong_log(self, step: Mapping[str, Any], logged: int) -> Iterator[str]:
        if "warns" in step:
            (line,) = self._apns.lines()[logged:]
            if not str(line["warnings"]).startswith(f"['{step['warns']}"):
                yield f"warnings {line['warnings']}"


def _said(client: Client, reply: Reply) -> str:
    if reply.reset is not None:
        return f"RST_STREAM {probes.error_name(reply.reset)}"
    text = f"{reply.status} {reply.reason}".rstrip() if reply.status >= 400 else str(reply.status)
    return f"{text}, GOAWAY" if client.goaways else text


def _told(client: Client) -> str:
    goaway = client.goaways[-1]
    name = probes.error_name(int(goaway.error_code or 0))
    return f"GOAWAY {name} {(goaway.additional_data or b'').decode()} last {goaway.last_stream_id}"
