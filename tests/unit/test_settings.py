"""Settings are read at once, refused whole, and say which line to change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from dispatcher.errors import NotificationError, SettingsError
from dispatcher.guard import Marks
from dispatcher.push_types import Environment
from dispatcher.scripts import Clock
from dispatcher.settings import Mode, Replicas, Settings

ROOT = Path(__file__).parents[2]

GOOD = """\
[keys.KEYID12345]
team_id = "TEAMID1234"
file = "AuthKey_KEYID12345.p8"

[apps."com.example.app"]
key = "KEYID12345"
"""

PRODUCTION = {"APNS_MODE": "production", "APNS_BROKER_URL": "rediss://:secret@valkey.example:6379/0"}

FULL = (
    GOOD
    + """\
environment = "sandbox"
background_per_hour = 0

[endpoints]
production = "https://127.0.0.1:2197"
sandbox = "https://127.0.0.1:2198/"
ca_file = "ca.pem"

[workers]
transport = "aioapns"
connections = 5
proxy = "http://proxy.example:3128/"

[development]
retry_scale = 0.01
"""
)


def make_env(tmp_path: Path, text: str = GOOD, **variables: str) -> dict[str, str]:
    """Write a configuration file and return an environment that names it."""
    config = tmp_path / "apns.toml"
    config.write_text(text)
    return {"APNS_BROKER_URL": "redis://localhost:6379/0", "APNS_CONFIG": str(config)} | variables


def problems_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is wrong; the temporary directory is left out of file names."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    directory = f"{Path(env.get('APNS_CONFIG', '/')).parent}/"
    return tuple(problem.replace(directory, "") for problem in caught.value.problems)


def test_a_minimal_configuration_has_safe_defaults(tmp_path: Path) -> None:
    """Two variables and two tables are enough; pushes go to Apple's production."""
    settings = Settings.from_env(make_env(tmp_path))
    app = settings.app("com.example.app")
    assert (app.key_id, app.environment, app.background_per_hour) == ("KEYID12345", Environment.PRODUCTION, 3)
    assert (settings.mode, settings.timeout_s, settings.retry_scale) == (Mode.DEVELOPMENT, 2.0, 1.0)
    assert settings.state_url == settings.broker_url
    assert settings.endpoints.url(Environment.PRODUCTION) == "https://api.push.apple.com"
    assert settings.endpoints.url(Environment.SANDBOX) == "https://api.sandbox.push.apple.com"
    assert settings.endpoints.ca_file is None
    assert (settings.workers.transport, settings.workers.connections) == ("multiplexed", 2)
    assert settings.workers.proxy is None


def test_everything_can_be_configured(tmp_path: Path) -> None:
    """Each value arrives; paths are relative to the file and made absolute."""
    variables = {"APNS_STATE_URL": "unix:///run/redis.sock?db=1", "APNS_TIMEOUT": "0.5"}
    settings = Settings.from_env(make_env(tmp_path, FULL, **variables))
    assert settings.state_url.get_secret_value() == "unix:///run/redis.sock?db=1"
    assert (settings.timeout_s, settings.retry_scale, settings.workers.connections) == (0.5, 0.01, 5)
    assert (settings.workers.transport, settings.workers.proxy) == ("aioapns", "http://proxy.example:3128")
    assert settings.app("com.example.app").environment is Environment.SANDBOX
    assert settings.app("com.example.app").background_per_hour == 0
    assert settings.keys["KEYID12345"].file == tmp_path / "AuthKey_KEYID12345.p8"
    assert settings.keys["KEYID12345"].team_id == "TEAMID1234"
    assert settings.endpoints.url(Environment.SANDBOX) == "https://127.0.0.1:2198"
    assert settings.endpoints.ca_file == tmp_path / "ca.pem"


def test_the_process_environment_is_the_default(tmp_path: Path) -> None:
    """Without an argument the variables of the process are read, relative paths from where it stands."""
    env = make_env(tmp_path) | {"APNS_CONFIG": "apns.toml", "PYTHONPATH": str(ROOT)}
    source = "from dispatcher.settings import Settings; print(Settings.from_env().keys['KEYID12345'].file)"
    command = [sys.executable, "-c", source]
    shown = subprocess.run(command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(tmp_path / "AuthKey_KEYID12345.p8")


def test_an_environment_given_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the process do not leak into settings read from a mapping."""
    monkeypatch.setenv("APNS_MODE", "production")
    assert Settings.from_env(make_env(tmp_path)).mode is Mode.DEVELOPMENT


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    """Compose files and CI pass on variables that nobody set."""
    settings = Settings.from_env(make_env(tmp_path, APNS_STATE_URL="", APNS_MODE="", APNS_TIMEOUT=""))
    assert (settings.mode, settings.timeout_s) == (Mode.DEVELOPMENT, 2.0)


def test_settings_are_immutable_and_hide_passwords(tmp_path: Path) -> None:
    """Nobody changes them after the check, and printing them is safe."""
    settings = Settings.from_env(make_env(tmp_path, APNS_BROKER_URL="redis://:hunter2@localhost/0"))
    with pytest.raises(FrozenInstanceError):
        settings.mode = Mode.PRODUCTION  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.apps["com.example.other"] = settings.app("com.example.app")  # type: ignore[index]
    assert "hunter2" not in repr(settings)
    assert settings.state_url.get_secret_value() == "redis://:hunter2@localhost/0"


def test_no_signing_key_is_opened(tmp_path: Path) -> None:
    """A producer has no key files: a configuration whose file is missing is fine here."""
    settings = Settings.from_env(make_env(tmp_path))
    assert not settings.keys["KEYID12345"].file.exists()


def test_an_unknown_app_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """A slip of the pen gets a question, anything else the list."""
    settings = Settings.from_env(make_env(tmp_path))
    with pytest.raises(NotificationError) as slip:
        settings.app("com.exmaple.app")
    assert (slip.value.field, slip.value.rule) == (
        "app",
        'is not configured; configured apps: com.example.app; did you mean "com.example.app"?',
    )
    with pytest.raises(NotificationError, match=r"^app: is not configured; configured apps: com\.example\.app$"):
        settings.app("")


def test_of_many_apps_an_error_names_the_first_few(tmp_path: Path) -> None:
    """An error stays readable with a thousand apps."""
    apps = "".join(f'[apps."org.example.a{n:02}"]\nkey = "KEYID12345"\n' for n in range(30))
    with pytest.raises(NotificationError, match=r"org\.example\.a08 and 21 more$"):
        Settings.from_env(make_env(tmp_path, GOOD + apps)).app("?")


def test_missing_variables_are_named_together_with_the_easy_way_out() -> None:
    """The first thing a newcomer sees says what to set, and what does it for them."""
    broker, config = problems_of({})
    assert broker.startswith("APNS_BROKER_URL is not set; set it to the address of the broker")
    assert config.startswith("APNS_CONFIG is not set; set it to the path of the TOML file")
    assert all("`make dev`" in problem for problem in (broker, config))


def test_production_is_not_told_to_use_the_development_stack() -> None:
    """In production the mend is to set the variable."""
    assert not any("make dev" in problem for problem in problems_of({"APNS_MODE": "production"}))


def test_a_misspelt_variable_is_pointed_at(tmp_path: Path) -> None:
    """A near name in the environment is most likely the one meant."""
    env = {"APNS_BROKER_URI": "redis://localhost", "APNS_CONFIG": make_env(tmp_path)["APNS_CONFIG"]}
    (problem,) = problems_of(env)
    assert problem.startswith("APNS_BROKER_URL is not set (is APNS_BROKER_URI meant to be it?); set it to")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"APNS_MODE": "prod"}, 'APNS_MODE = "prod": must be development or production'),
        ({"APNS_TIMEOUT": "soon"}, 'APNS_TIMEOUT = "soon": must be seconds, more than 0 and at most 60'),
        ({"APNS_TIMEOUT": "0"}, 'APNS_TIMEOUT = "0": must be seconds, more than 0 and at most 60'),
        ({"APNS_TIMEOUT": "inf"}, 'APNS_TIMEOUT = "inf": must be seconds, more than 0 and at most 60'),
        (
            {"APNS_BROKER_URL": "http://:hunter2@host"},
            (
                "APNS_BROKER_URL must begin with one of redis://, rediss://, redis+socket://, sentinel://, "
                "sentinels://, amqp://, amqps://; it must be the address of the broker, such as redis://localhost:6379/0"
            ),
        ),
        (
            {"APNS_STATE_URL": "hunter2"},
            (
                "APNS_STATE_URL must begin with one of redis://, rediss://, unix://, sentinel://, sentinels://, "
                "redis+cluster://, rediss+cluster://; it must be the address of a Redis or Valkey server, such as "
                "redis://localhost:6379/1"
            ),
        ),
        (
            {"APNS_BROKER_URL": "amqp://web:hunter2@host//"},
            (
                "APNS_STATE_URL is not set, and amqp://web:***@host// can only be a broker; set it to the address of a "
                "Redis or Valkey server, such as redis://localhost:6379/1"
            ),
        ),
    ],
)
def test_a_wrong_variable_is_named_with_what_to_write(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    """One line per variable; no password is shown."""
    assert problems_of(make_env(tmp_path, **variables)) == (expected,)


def test_rabbitmq_with_a_state_server_is_fine(tmp_path: Path) -> None:
    """Broker and state may be two servers."""
    variables = {"APNS_BROKER_URL": "amqp://host", "APNS_STATE_URL": "redis://host/1"}
    assert Settings.from_env(make_env(tmp_path, **variables)).state_url.get_secret_value() == "redis://host/1"


KEY_TABLE = GOOD[: GOOD.index("[apps")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GOOD.replace('key = "KEYID12345"', 'key = "KEYX"'),
            'apns.toml line 6: [apps."com.example.app"] key = "KEYX": no such key; write one of KEYID12345',
        ),
        (
            GOOD.replace('key = "KEYID12345"', 'key = "KEYID12354"'),
            (
                'apns.toml line 6: [apps."com.example.app"] key = "KEYID12354": no such key; write one of KEYID12345; '
                'did you mean "KEYID12345"?'
            ),
        ),
        (
            '[apps."com.example.app"]\nkey = "KEYID12345"\n',
            (
                'apns.toml line 2: [apps."com.example.app"] key = "KEYID12345": no such key; '
                "write a table [keys.KEYID12345]"
            ),
        ),
        (
            GOOD.replace("key =", "# key ="),
            (
                'apns.toml line 5: [apps."com.example.app"] key is missing; '
                "it must be the key id of one of the [keys] tables"
            ),
        ),
        (
            GOOD + 'enviroment = "sandbox"\n',
            'apns.toml line 7: [apps."com.example.app"] enviroment: unknown key; did you mean "environment"?',
        ),
        (
            GOOD + "zzz = 1\n",
            (
                'apns.toml line 7: [apps."com.example.app"] zzz: unknown key; known: background_per_hour, environment, '
                "feedback_queue, feedback_task, key"
            ),
        ),
        (
            GOOD + "[endpoint]\n",
            'apns.toml line 7: [endpoint]: unknown section; did you mean "endpoints"?',
        ),
        (
            GOOD + "background_per_hour = -1\n",
            'apns.toml line 7: [apps."com.example.app"] background_per_hour = -1: must be a whole number, 0 or more',
        ),
        (
            GOOD + "background_per_hour = true\n",
            'apns.toml line 7: [apps."com.example.app"] background_per_hour = true: must be a whole number, 0 or more',
        ),
        (
            GOOD + 'environment = "development"\n',
            'apns.toml line 7: [apps."com.example.app"] environment = "development": must be "production" or "sandbox"',
        ),
        (
            GOOD + "environment = { key = 1 }\n",
            'apns.toml line 7: [apps."com.example.app"] environment = {"key": 1}: must be "production" or "sandbox"',
        ),
        (
            GOOD.replace("TEAMID1234", "teamid1234"),
            (
                'apns.toml line 2: [keys.KEYID12345] team_id = "teamid1234": '
                "must be the id of your team at Apple, 10 upper-case letters and digits"
            ),
        ),
        (
            GOOD + '[keys.short]\nteam_id = "TEAMID1234"\nfile = "x"\n',
            "apns.toml line 7: [keys.short]: must be a key id of Apple, 10 upper-case letters and digits",
        ),
        (
            GOOD + '[apps."com/example"]\nkey = "KEYID12345"\n',
            'apns.toml line 7: [apps."com/example"]: must be a bundle id of letters, digits, hyphens and dots',
        ),
        (
            GOOD + '[apps.com.example.two]\nkey = "KEYID12345"\n',
            (
                "apns.toml line 7: [apps.com.example.two]: is a table within tables; "
                'write [apps."com.example.two"], quoted'
            ),
        ),
        (
            GOOD + '[endpoints]\nsandbox = "http://u:hunter2@host"\n',
            (
                'apns.toml line 8: [endpoints] sandbox = "http://u:***@host": '
                'must be "https://HOST" or "https://HOST:PORT"'
            ),
        ),
        (
            GOOD.replace("AuthKey_KEYID12345.p8", "-----BEGIN PRIVATE KEY-----\\n" + "hunter2" * 10),
            "apns.toml line 3: [keys.KEYID12345] file = ...: must be the path of the .p8 file, relative to this file",
        ),
        (
            GOOD + '[workers]\ntransport = "carrier pigeon"\n',
            'apns.toml line 8: [workers] transport = "carrier pigeon": must be "multiplexed" or "aioapns"',
        ),
        *(
            (
                GOOD + f'[workers]\nproxy = "{proxy}"\n',
                f'apns.toml line 8: [workers] proxy = "{shown}": must be "http://HOST:PORT"',
            )
            for proxy, shown in (
                ("https://proxy.example:3128", "https://proxy.example:3128"),
                ("http://proxy.example", "http://proxy.example"),
                ("http://proxy.example:x", "http://proxy.example:x"),
                ("http://u:hunter2@proxy.example:3128", "http://u:***@proxy.example:3128"),
            )
        ),
        (
            GOOD + "[development]\nretry_scale = nan\n",
            "apns.toml line 8: [development] retry_scale = NaN: must be a number, more than 0 and at most 1",
        ),
        ("workers = 1\n" + GOOD, "apns.toml line 1: [workers]: must be a table"),
        (
            KEY_TABLE,
            'apns.toml line 1: no app is configured; write a table [apps."your.bundle.id"] with key = "..."',
        ),
        (
            GOOD + "[keys.KEYID12345]\n",
            "apns.toml line 7: is not valid TOML: Cannot declare ('keys', 'KEYID12345') twice",
        ),
    ],
)
def test_a_mistake_in_the_file_names_its_line_and_what_to_write(tmp_path: Path, text: str, expected: str) -> None:
    """One mistake, one line."""
    assert problems_of(make_env(tmp_path, text)) == (expected,)


def test_a_table_that_is_none_is_refused_at_every_depth(tmp_path: Path) -> None:
    """A number where a table belongs is a problem, never a crash."""
    assert problems_of(make_env(tmp_path, 'keys = 1\napps = "x"\n')) == (
        "apns.toml line 1: [keys]: must be a table",
        'apns.toml line 1: no app is configured; write a table [apps."your.bundle.id"] with key = "..."',
        "apns.toml line 2: [apps]: must be a table",
    )
    assert problems_of(make_env(tmp_path, '[apps]\n"com.example.app" = 1\n')) == (
        'apns.toml line 2: [apps."com.example.app"]: must be a table',
    )


def test_all_problems_are_reported_together_in_the_order_of_the_lines(tmp_path: Path) -> None:
    """Whoever mends a configuration does it once."""
    text = GOOD.replace("team_id", "team").replace('key = "', 'key = "X') + "[development]\nretry_scale = 2\n"
    env = make_env(tmp_path, text, APNS_MODE="production", APNS_TIMEOUT="x", APNS_BROKER_URL="")
    beginnings = [
        "APNS_BROKER_URL is not set",
        "APNS_TIMEOUT",
        "apns.toml line 1: [keys.KEYID12345] team_id is missing",
        "apns.toml line 2: [keys.KEYID12345] team: unknown key",
        'apns.toml line 6: [apps."com.example.app"] key',
        "apns.toml line 8: [development] retry_scale = 2",
        "apns.toml line 8: [development] retry_scale: is refused",
    ]
    problems = problems_of(env)
    assert len(beginnings) == len(problems)
    assert all(problem.startswith(start) for problem, start in zip(problems, beginnings, strict=True))


def test_marks_say_how_full_is_too_full(tmp_path: Path) -> None:
    """Both marks have defaults, can be set, and are refused where they could not be meant."""
    assert Settings.from_env(make_env(tmp_path)).marks == Marks(max_memory_share=0.85, max_waiting=1_000_000)
    text = GOOD + "[enqueue]\nmax_memory_share = 0.5\nmax_waiting = 1600\n"
    assert Settings.from_env(make_env(tmp_path, text)).marks == Marks(max_memory_share=0.5, max_waiting=1600)
    wrong = GOOD + "[enqueue]\nmax_memory_share = 85\nmax_waiting = 15\n"
    assert problems_of(make_env(tmp_path, wrong)) == (
        "apns.toml line 8: [enqueue] max_memory_share = 85: must be a number, more than 0 and at most 1",
        "apns.toml line 9: [enqueue] max_waiting = 15: must be a whole number, 16 or more",
    )


@pytest.mark.parametrize(
    ("url", "beginnings"),
    [
        ("rediss://:pw@valkey.example/0", []),
        ("rediss://valkey.example/0?password=pw", []),
        ("amqps://web:pw@one.example;amqps://web:pw@two.example", []),
        ("redis://:pw@localhost:6379/0", []),
        ("redis://:pw@127.3.2.1:6379/0", []),
        ("redis://:pw@[::1]:6379/0", []),
        ("redis+socket:///run/valkey.sock", []),
        ("rediss://:pw@valkey.example/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=CERT_REQUIRED", []),
        ("redis://:pw@valkey.example/0", ["leads over a network in plaintext"]),
        ("redis://:pw@10.0.0.1/0", ["leads over a network in plaintext"]),
        ("redis://:pw@localhost.example/0", ["leads over a network in plaintext"]),
        ("amqp://web:pw@localhost;amqp://web:pw@two.example", ["leads over a network in plaintext"]),
        ("redis://localhost/0", ["holds no password"]),
        ("rediss://web@valkey.example/0", ["holds no password"]),
        ("redis://valkey.example/0", ["leads over a network in plaintext", "holds no password"]),
        ("rediss://:pw@valkey.example/0?ssl_cert_reqs=none", ["trusts any server's certificate"]),
        ("rediss://:pw@valkey.example/0?ssl_cert_reqs=CERT_NONE", ["trusts any server's certificate"]),
        ("rediss://:pw@valkey.example/0?ssl_check_hostname=False", ["trusts any server's certificate"]),
    ],
)
def test_production_refuses_unsafe_addresses(tmp_path: Path, url: str, beginnings: list[str]) -> None:
    """Plaintext over a network, no password and unverified certificates are refused, of broker and state server."""
    as_state = url.replace("redis+socket", "unix")
    env = make_env(tmp_path, APNS_MODE="production", APNS_BROKER_URL=url, APNS_STATE_URL=PRODUCTION["APNS_BROKER_URL"])
    expected = [f"APNS_BROKER_URL {beginning}" for beginning in beginnings]
    if "amqp" not in url:
        env |= {"APNS_STATE_URL": as_state}
        expected += [f"APNS_STATE_URL {beginning}" for beginning in beginnings]
    problems = problems_of(env) if beginnings else ()
    assert [problem[: len(start)] for problem, start in zip(problems, expected, strict=True)] == expected
    assert not any("pw@" in problem or "valkey.example" in problem for problem in problems)
    assert Settings.from_env({**env, "APNS_MODE": "development"}).broker_url.get_secret_value() == url
    if not beginnings:
        assert Settings.from_env(env).is_production


def test_unsafe_addresses_are_reported_with_the_rest(tmp_path: Path) -> None:
    """Whoever prepares a deployment mends it once; an address that cannot be read is told of once."""
    env = make_env(tmp_path, "", APNS_MODE="production", APNS_TIMEOUT="x", APNS_STATE_URL="ftp://h")
    beginnings = ["APNS_STATE_URL must begin", "APNS_TIMEOUT", "APNS_BROKER_URL holds no", "apns.toml line 1: no app"]
    problems = problems_of(env)
    assert [problem[: len(start)] for problem, start in zip(problems, beginnings, strict=True)] == beginnings


def test_production_refuses_shortened_retries(tmp_path: Path) -> None:
    """A setting for demonstrations never reaches Apple."""
    (problem,) = problems_of(make_env(tmp_path, FULL, **PRODUCTION))
    expected = "apns.toml line 21: [development] retry_scale: is refused when APNS_MODE is production; remove it"
    assert expected == problem


@pytest.mark.parametrize(("mode", "clock"), [("development", Clock.SHIFTED), ("production", Clock.SERVER)])
def test_only_development_may_shift_the_clock(tmp_path: Path, mode: str, clock: Clock) -> None:
    """Tests move time by a value in the state server; production never looks at it."""
    assert Settings.from_env(make_env(tmp_path, **{**PRODUCTION, "APNS_MODE": mode})).clock is clock


def test_production_allows_a_stand_in_for_apple(tmp_path: Path) -> None:
    """A company's own relay is a production endpoint as long as it is https."""
    text = GOOD + '[endpoints]\nproduction = "https://relay.example:2197"\n'
    settings = Settings.from_env(make_env(tmp_path, text, **PRODUCTION))
    assert (settings.mode, settings.endpoints.production) == (Mode.PRODUCTION, "https://relay.example:2197")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"# caf\xc3\xa9\n# caf\xe9\n", "apns.toml line 2: is not UTF-8; save it as UTF-8")],
)
def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path, content: bytes, expected: str) -> None:
    """The line is that of the first bad byte."""
    env = make_env(tmp_path)
    Path(env["APNS_CONFIG"]).write_bytes(content)
    assert problems_of(env) == (expected,)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Some editors write one, and nobody sees it."""
    assert set(Settings.from_env(make_env(tmp_path, "\ufeff" + GOOD)).apps) == {"com.example.app"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The problem names the path as it was given, and the variable."""
    (problem,) = problems_of(make_env(tmp_path) | {"APNS_CONFIG": str(tmp_path / "none.toml")})
    assert problem == "none.toml: there is no such file; APNS_CONFIG must name the TOML file with your keys and apps"


def test_a_directory_instead_of_the_file_is_named(tmp_path: Path) -> None:
    """An empty mount is a frequent mistake."""
    (problem,) = problems_of(make_env(tmp_path) | {"APNS_CONFIG": str(tmp_path)})
    assert problem.endswith("cannot be read (Is a directory)")


def test_no_traceback_shows_a_password(tmp_path: Path) -> None:
    """An uncaught error, with everything chained to it, hides what the variables held."""
    env = make_env(tmp_path, APNS_BROKER_URL="redis://:hunter2/x@host", APNS_STATE_URL="hunter2", APNS_TIMEOUT="x")
    command = [sys.executable, "-c", "from dispatcher.settings import Settings; Settings.from_env()"]
    failed = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False)
    assert "APNS_STATE_URL" in failed.stderr
    assert "hunter2" not in failed.stderr


def test_replicas_are_waited_for_if_that_is_configured(tmp_path: Path) -> None:
    """By default nobody has to confirm; with a number half a second is waited, or as long as it says."""
    said = {"": None, "wait_for_replicas = 0": None, "wait_for_replicas = 2": Replicas(count=2, timeout_ms=500)}
    said["wait_for_replicas = 1\nreplica_timeout_ms = 50"] = Replicas(count=1, timeout_ms=50)
    for lines, expected in said.items():
        settings = Settings.from_env(make_env(tmp_path, f"{GOOD}[enqueue]\n{lines}\n"))
        assert settings.replicas == expected


def test_replicas_are_waited_for_within_a_calls_time(tmp_path: Path) -> None:
    """A call could not answer in time if it waited for replicas for longer than half of that."""
    env = make_env(tmp_path, f"{GOOD}[enqueue]\nwait_for_replicas = 1\nreplica_timeout_ms = 500\n", APNS_TIMEOUT="1")
    rule = "[enqueue] replica_timeout_ms = 500: must be less than 500, half of APNS_TIMEOUT"
    assert problems_of(env) == (f"apns.toml: {rule}",)


@pytest.mark.parametrize("url", ["sentinel://:pw@one,two/0?master=apns", "sentinels://one/0?master=apns"])
def test_one_address_of_sentinels_serves_broker_and_state(tmp_path: Path, url: str) -> None:
    """What Sentinels watch is both, like a single server."""
    settings = Settings.from_env(make_env(tmp_path, APNS_BROKER_URL=url))
    assert settings.state_url.get_secret_value() == url


def test_a_cluster_is_no_broker(tmp_path: Path) -> None:
    """The problem says what to do instead, and shows no password."""
    (problem,) = problems_of(make_env(tmp_path, APNS_BROKER_URL="redis+cluster://:hunter2@one"))
    assert problem.startswith("APNS_BROKER_URL is a cluster, which Celery cannot use as a broker; write it to")
    assert "hunter2" not in problem
