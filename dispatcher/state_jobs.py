"""What is put into pipelines: calls of scripts and plain commands, each with the shard it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError

from dispatcher import redis_keys, scripts
from dispatcher.scripts import Clock
from dispatcher.state_call import StateCall
from dispatcher.state_errors import was_refused, will_pass

#: Adds one command to a pipeline.
Question = Callable[[Any], Any]

#: No error begins like this.
NOTHING: Final = "\0"

_TOUCH_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command of a pipeline.

    Attributes:
        shard: Where it has to be done.
        add: Adds it to a pipeline.
        add_again: The same once it may have been done before.
        script: Source of the script it calls; empty for a plain command.
        comes_last: Say it again whenever something before it is said again.
    """

    shard: int
    add: Question
    add_again: Question
    script: str = ""
    comes_last: bool = False


def evalsha(call: StateCall[Any], clock: Clock, *, again: bool = False) -> tuple[Any, ...]:
    """Return the arguments of the command that runs a script."""
    keys = (*call.keys, redis_keys.clock(call.shard))
    args = call.again if again and call.again is not None else call.args
    return (scripts.sha(call.script, clock), len(keys), *keys, *args)


def of_call(call: StateCall[Any], clock: Clock) -> Job:
    """Return the job that runs a script."""
    return Job(
        shard=call.shard,
        add=lambda pipeline: pipeline.evalsha(*evalsha(call, clock)),
        add_again=lambda pipeline: pipeline.evalsha(*evalsha(call, clock, again=True)),
        script=scripts.source(call.script, clock),
    )


def of_question(shard: int, question: Question) -> Job:
    """Return the job that asks with a plain command."""
    return Job(shard=shard, add=question, add_again=question)


def of_replicas(shard: int, *, count: int, timeout_ms: int) -> tuple[Job, Job]:
    """Return the jobs that wait until replicas have what came before them; the second's reply is how many have."""

    def touch(pipeline: Any) -> None:
        # Replicas are waited for up to this connection's last write, and a repeated call writes nothing.
        pipeline.set(redis_keys.touched(shard), "", ex=_TOUCH_S)

    def wait(pipeline: Any) -> None:
        pipeline.wait(count, timeout_ms)

    first = Job(shard=shard, add=touch, add_again=touch, comes_last=True)
    return first, Job(shard=shard, add=wait, add_again=wait, comes_last=True)


def fill(pipeline: Any, jobs: Iterable[Job], *, again: bool) -> int:
    """Add jobs to a pipeline, when they are said again their scripts first; returns how many those are."""
    jobs = tuple(jobs)
    sources = dict.fromkeys(job.script for job in jobs if again and job.script)
    for source in sources:
        pipeline.script_load(source)
    for job in jobs:
        (job.add_again if again else job.add)(pipeline)
    return len(sources)


def to_say_again(jobs: Sequence[Job], replies: Sequence[Any], *, only_refused: bool) -> list[int]:
    """Return the positions of jobs that may go better: the script was not there, or its shard was not.

    Args:
        jobs: What was said.
        replies: What came of each: a reply or an error.
        only_refused: Leave out what may have been done.
    """
    failed = [at for at, reply in enumerate(replies) if _may_go_better(reply, only_refused=only_refused)]
    if not failed:
        return []
    return [at for at, job in enumerate(jobs) if at in failed or job.comes_last]


def first_error(replies: Iterable[Any], *, but: str = NOTHING) -> RedisError | None:
    """Return the first error among replies, but for those that begin so."""
    errors = (reply for reply in replies if isinstance(reply, RedisError))
    return next((error for error in errors if not str(error).startswith(but)), None)


def _may_go_better(reply: Any, *, only_refused: bool) -> bool:
    if not isinstance(reply, RedisError):
        return False
    return isinstance(reply, NoScriptError) or (will_pass(reply) and (was_refused(reply) or not only_refused))
