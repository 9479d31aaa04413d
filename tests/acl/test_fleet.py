"""A whole fleet works under the users of deploy/users.acl, none of which may do more than that takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest

from dispatcher.dev.children import Guard
from dispatcher.dev.servers import Servers
from dispatcher.dev.stack import Stack
from dispatcher.dev.users import Role, Users
from tests.acl import grants, scenario
from tests.acl.everybody import Everybody
from tests.acl.grants import Grant
from tests.acl.recording import Doors, Recorder, UsersByDoor, Words

#: Every delay before another try is cut to nothing.
RETRY_SCALE: Final = 0.00002
_REPLICAS: Final = "waiting until replicas have what was accepted: wait_for_replicas"
_CLUSTER: Final = "finding the server that has a shard: redis+cluster://"
#: Role, bracket and word -> when it is needed, though nothing in this run does.
NEEDED_ELSEWHERE: Final[Mapping[tuple[Role, str], str]] = {
    (Role.PRODUCER, "+wait"): _REPLICAS,
    (Role.PRODUCER, "+set ~apns:{??}:touched"): _REPLICAS,
    (Role.PRODUCER, "~apns:{??}:touched +set"): _REPLICAS,
    (Role.PRODUCER, "+cluster|slots"): _CLUSTER,
    (Role.OPERATOR, "+wait"): _REPLICAS,
    (Role.OPERATOR, "+set ~apns:{??}:touched"): _REPLICAS,
    (Role.OPERATOR, "~apns:{??}:touched +set"): _REPLICAS,
    (Role.OPERATOR, "+cluster|slots"): _CLUSTER,
    (Role.FEEDBACK, "+cluster|slots"): _CLUSTER,
    (Role.WORKER, "+cluster|slots"): _CLUSTER,
    (Role.WORKER, "+exists ~apns:{??}:clock"): "a worker in production looks whether the clock was moved",
    (Role.WORKER, "+del ~apns:{00}:feedback-call:*"): "the broker did not take the call of a feedback task",
    (Role.FLOWER, "+script|load"): "no worker has brought kombu's script yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run left behind.

    Attributes:
        everybody: Still there.
        sent: Every command that was sent, by role.
        refused: What the server refused meanwhile.
    """

    everybody: Everybody
    sent: list[tuple[Role, Words]]
    refused: list[Any]


@pytest.fixture(scope="module")
def run(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Let everybody do everything once."""
    with ExitStack() as running:
        doors = running.enter_context(Doors())
        by_door = UsersByDoor(acl_file=users.acl_file, passwords=users.passwords, doors=doors)
        directory = tmp_path_factory.mktemp("users") / "stack"
        stack = Stack(directory, flower=True, servers=Servers(users=by_door), retry_scale=RETRY_SCALE)
        running.callback(stack.stop)
        stack.start_servers()
        recorder = Recorder(stack.server.url)
        running.callback(recorder.stop)
        everybody = Everybody(stack, running.enter_context(Guard()))
        running.callback(everybody.close)
        for step in scenario.steps():
            step(everybody)
        yield Run(everybody=everybody, sent=recorder.sent(), refused=everybody.admin.acl_log())


def test_everything_is_delivered_and_nothing_refused(run: Run) -> None:
    """Nothing is left, and the server refused nobody anything, nor does any log say so."""
    assert run.refused == []
    assert run.everybody.fleet.unsettled() == []
    logs = list(run.everybody.stack.directory.glob("*.log"))
    assert {log.name for log in logs} >= {"alert-1.log", "voip-1.log", "background-1.log", "flower.log", "shop.log"}
    assert [log.name for log in logs if "NOPERM" in log.read_text(errors="replace")] == []


def test_everybody_came_in_their_own_role(run: Run) -> None:
    """The record knows every role that takes part: what follows from it is about all of them."""
    assert {role for role, _ in run.sent} >= set(Role)


def test_every_grant_is_needed(run: Run, users: Users) -> None:
    """Without any one word of its permissions a role could not have done something that it did."""
    commands = grants.samples(run.sent)
    permissions = grants.read_permissions(users.acl_file.read_text(encoding="utf-8"))
    found = [
        grant
        for role, permitted in permissions.items()
        for grant in permitted.grants()
        if not grants.is_missed(run.everybody.admin, permitted, grant, commands[role])
        and not is_needed_elsewhere(grant)
    ]
    assert not found, "\n".join(str(grant) for grant in found)


def is_needed_elsewhere(grant: Grant) -> bool:
    """Tell whether the table says why."""
    words = {grant.word, *(f"{grant.word} {other}" for other in grant.bracket)}
    return any((grant.role, word) in NEEDED_ELSEWHERE for word in words)


def test_the_table_is_about_grants_that_exist(users: Users) -> None:
    """What is needed elsewhere is granted at all."""
    permissions = grants.read_permissions(users.acl_file.read_text(encoding="utf-8"))
    for role, words in NEEDED_ELSEWHERE:
        assert any(set(words.split()) <= set(bracket) for bracket in permissions[role].brackets), words
