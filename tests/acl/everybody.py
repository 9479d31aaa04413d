"""A whole fleet with its web app and its operator, each logged in to the state server in their own role."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import Any, Final

import redis
from celery import Celery
from click.testing import CliRunner
from kombu import Connection

from dispatcher import Dispatcher, ids, redis_keys
from dispatcher.cli import apns
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.simulator.world import key_file
from dispatcher.dev.stack import Stack
from dispatcher.dev.users import Role
from tests.fleet.test_stop_before_harm import write_wrong_key
from tests.running_fleet import APP, Fleet

#: The web app's own queue, Celery's default, where its feedback task is called.
FEEDBACK_QUEUE: Final = "celery"
FEEDBACK_TASK: Final = "shop.on_push_feedback"
#: Has a signing key of its own.
THIRD: Final = "com.example.third"
THIRD_KEY: Final = "KEYTEAMBBB"

_SHOP: Final = """
import os, pathlib
from celery import Celery
from dispatcher import Dispatcher, Feedback

heard = pathlib.Path(__file__).parent / "heard"
app = Celery("shop", broker=os.environ["APNS_BROKER_URL"])
app.conf.worker_enable_remote_control = False
push = Dispatcher.from_env()

@app.task(name="shop.on_push_feedback")
@push.feedback_handler
def on_push_feedback(records: list[Feedback]) -> None:
    with heard.open("a") as file:
        file.writelines(record.apns_id + "\\n" for record in records)
"""
_SHOP_WORKER: Final = ("-A", "shop", "worker", "-c", "1", "-P", "solo", "--without-mingle", "--without-gossip")
_FLEET_OPTIONS: Final = {"priority_steps": [0], "ack_emulation": False}


class Everybody:
    """Who takes part, and what they have in common.

    Attributes:
        stack: Its servers run, its workers do not yet.
        fleet: For waiting, and for looking at the server as its administrator.
    """

    def __init__(self, stack: Stack, guard: Guard) -> None:
        self.stack = stack
        self.fleet = Fleet(stack)
        self._guard = guard
        self._others: list[Child] = []
        self._numbers = count(10_000)
        self._clock_s = 0.0
        self._key = stack.config.parent / key_file(THIRD_KEY)
        self._right_key = self._key.read_bytes()

    @property
    def push(self) -> Dispatcher:
        """The web app's dispatcher."""
        return self.fleet.push

    @property
    def admin(self) -> Any:
        """The administrator's connection."""
        return self.fleet.state

    def url(self, role: Role) -> str:
        """Return where a role reaches the server."""
        return self.stack.env_of(role)["APNS_BROKER_URL"]

    def connect(self, role: Role) -> Any:
        """Return a plain connection of a role's; to be closed."""
        return redis.Redis.from_url(self.url(role), client_name=f"apns-{role}")

    def celery(self, role: Role) -> Celery:
        """Return a Celery app of a role's, set up for Redis as the fleet's is; to be closed."""
        app = Celery(f"apns-{role}", broker=self.url(role), set_as_current=False)
        app.conf.broker_transport_options = _FLEET_OPTIONS
        return app

    def connect_as_shop(self) -> Connection:
        """Return a connection of the web app's own Celery, set up as by default; to be closed."""
        return Connection(self.url(Role.FEEDBACK))

    def command(self, *arguments: str) -> str:
        """Run a command of the operator's and return what it says."""
        done = CliRunner(env=self.stack.env_of(Role.OPERATOR)).invoke(apns, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def sent_by_operator(self, *arguments: str) -> str:
        """Let the operator send something and return its apns id."""
        return self.command("send", APP, *arguments).split()[1]

    def cancel_by_hand(self, apns_id: str) -> str:
        """Let the operator cancel something, and return what is said."""
        return self.command("cancel", apns_id)

    def new_device(self) -> str:
        """Return the device token of a device that nothing was sent to."""
        return device_token(next(self._numbers))

    def new_devices(self, number: int) -> list[str]:
        """Return some of them."""
        return [self.new_device() for _ in range(number)]

    def spoil_key(self) -> None:
        """Put a wrong signing key in the place of one."""
        write_wrong_key(self._key)

    def mend_key(self) -> None:
        """Put the right one back."""
        self._key.write_bytes(self._right_key)

    def ask_for_feedback_task(self) -> None:
        """Configure the shop's task."""
        config, table = self.stack.config, f'[apps."{APP}"]\n'
        text = config.read_text(encoding="utf-8").replace(table, f'{table}feedback_task = "{FEEDBACK_TASK}"\n')
        config.write_text(text, encoding="utf-8")

    def start_shop(self) -> None:
        """Start the web app's own Celery worker."""
        shop = self.stack.directory / "shop"
        shop.mkdir()
        (shop / "shop.py").write_text(_SHOP, encoding="utf-8")
        self._launch("shop", [sys.executable, "-m", "celery", *_SHOP_WORKER], Role.FEEDBACK, shop)

    def heard(self) -> set[str]:
        """Return the apns ids of which the shop has heard."""
        lines = self.stack.directory / "shop" / "heard"
        return set(lines.read_text(encoding="utf-8").splitlines()) if lines.exists() else set()

    def advance(self, seconds: float) -> None:
        """Move the clock of the whole fleet."""
        self._clock_s += seconds
        for shard in range(ids.SHARDS):
            self.admin.set(redis_keys.clock(shard), self._clock_s)

    def close(self) -> None:
        """End everything that this started."""
        self._guard.stop(self._others, within_s=10)
        self.fleet.close()

    def _launch(self, name: str, command: list[str], role: Role, directory: Path) -> None:
        env = programs.environment(self.stack.env_of(role))
        log = self.stack.directory / f"{name}.log"
        self._others.append(self._guard.start(name, command, log=log, env=env, directory=directory))
