"""`pause`, `resume` and `pauses`: what an operator does when something must not be sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from click.testing import CliRunner, Result

from dispatcher import pausing
from dispatcher.cli.group import apns
from dispatcher.pausing import Scope
from dispatcher.settings import Settings
from dispatcher.state_server import StateServer

APP, KEY = "com.example.app", "KEYLEGACY0"
Run = Callable[..., Result]


@pytest.fixture
def run(env: Mapping[str, str]) -> Run:
    """Return a function that runs a command, configured like a web app."""
    return lambda *arguments: CliRunner().invoke(apns, arguments, env=env)


def test_what_is_paused_is_listed_until_it_is_resumed(run: Run) -> None:
    """Options together name one pause; it is listed with who made it, and ends when it is named again."""
    scope = ["--app", APP, "--lane", "voip", "--key", KEY]
    assert run("pauses").output == "nothing is paused\n"
    assert run("pause", *scope).output == f"paused {APP}|voip|{KEY}\n"
    assert run("pause", *scope).output == f"was paused before: {APP}|voip|{KEY}\n"
    assert run("pause", "--lane", "alert").exit_code == 0
    first, second = run("pauses").output.splitlines()
    assert first.startswith(f"{APP}|voip|{KEY}  by operator since 2")
    assert first.endswith(": operator")
    assert second.startswith("*|alert|*  by operator")
    assert run("resume", *scope).output == f"resumed {APP}|voip|{KEY}\n"
    assert run("pauses").output.splitlines() == [second]


def test_an_operator_ends_the_workers_pauses(run: Run, settings: Settings) -> None:
    """A pause that workers made is listed with their reason and probes, and may be ended by hand."""
    state = StateServer(settings.state_url.get_secret_value(), clock=settings.clock, timeout_s=2.0)
    scope = Scope(key_id=KEY)
    state.run(pausing.report_trouble(scope, "host", "InvalidProviderToken", is_certain=True, first_probe_s=2))
    state.close()
    shown = run("pauses").output
    assert shown.startswith(f"*|*|{KEY}  by workers since 2")
    assert shown.endswith(": InvalidProviderToken, 0 probes\n")
    assert run("resume", "--key", KEY).exit_code == 0
    assert run("pauses").output == "nothing is paused\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["pause"], 2, "give at least one of --app, --lane, --key"),
        (["resume"], 2, "give at least one of --app, --lane, --key"),
        (["pause", "--lane", "email"], 2, "email"),
        (["pause", "--app", "com.example.ap"], 1, f'did you mean "{APP}"'),
        (["pause", "--key", "KEYLEGACY1"], 1, "key KEYLEGACY1 is not configured"),
        (["resume", "--app", "com.example.gone"], 1, "com.example.gone|*|* is not paused; paused: nothing"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, arguments: list[str], exit_code: int, message: str) -> None:
    """A mistyped app or key pauses nothing, and resuming what is not paused says what is."""
    shown = run(*arguments)
    assert shown.exit_code == exit_code
    assert message in " ".join(shown.output.replace("│", " ").split())
    assert run("pauses").output == "nothing is paused\n"
