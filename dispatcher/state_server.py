"""The door to the state server: runs calls and plain commands, one or many in one round trip per server.

Whatever its address says it is, one server, a group watched by Sentinels or a cluster: a call finds the server that has
its shard, also when that has become another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Self, TypeVar

import redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from dispatcher import guard, redis_keys, scripts, state_jobs
from dispatcher.async_state_server import AsyncStateServer
from dispatcher.errors import EnqueueError
from dispatcher.scripts import Clock
from dispatcher.settings import Replicas, Settings
from dispatcher.shard_servers import ShardServers
from dispatcher.state_call import StateCall
from dispatcher.state_connections import connect
from dispatcher.state_errors import state_server_errors, was_refused, will_pass
from dispatcher.state_jobs import Job, Question
from dispatcher.topology import topology_of

__all__ = ["AsyncStateServer", "StateServer", "state_server_errors"]

ReplyT = TypeVar("ReplyT")


class StateServer:
    """The state server as producers see it: it answers in time or the call fails."""

    def __init__(self, url: str, *, clock: Clock, timeout_s: float, replicas: Replicas | None = None) -> None:
        """Make it; connects at the first call.

        Args:
            url: Its address, see `topology.py`.
            clock: Whose seconds scripts count.
            timeout_s: How long a call may take: finding the server, connecting and answering share it.
            replicas: Which of them have to confirm what is accepted; None for none.
        """
        topology = topology_of(url)
        connect_s = timeout_s / (2 if topology.fixed else 8)
        self._clock = clock
        self._replicas = replicas
        self._search_s, self._again_s = timeout_s / 8, timeout_s / 2
        self._servers = ShardServers(
            topology,
            connect=lambda server: connect(server, connect_s, timeout_s / 2),
            ask=lambda guide: connect(guide, timeout_s / 8, timeout_s / 8),
        )

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the configured one; connects at the first call."""
        url = settings.state_url.get_secret_value()
        return cls(url, clock=settings.clock, timeout_s=settings.timeout_s, replicas=settings.replicas)

    def run(self, call: StateCall[ReplyT], *, apns_ids: Sequence[str] = ()) -> ReplyT:
        """Run one call.

        Args:
            call: Which.
            apns_ids: Of the notifications it accepts, if it does.

        Raises:
            EnqueueError: The server did not confirm it; says whether it may have been done.
        """
        if apns_ids and self._replicas:
            return self.run_all([call], apns_ids=apns_ids)[0]
        client, began = None, monotonic()
        try:
            client = self._servers.client(call.shard, search_s=self._search_s)
            return call.read(client.evalsha(*state_jobs.evalsha(call, self._clock)))
        except redis.RedisError as exc:
            if client is None or not self._may_say_again(client, exc, began):
                raise _enqueue_error(exc, apns_ids, certainly_not_accepted=was_refused(exc)) from exc
        return self._run_all([call], apns_ids, again=True)[0]

    def run_all(self, calls: Sequence[StateCall[ReplyT]], *, apns_ids: Sequence[str] = ()) -> list[ReplyT]:
        """Run calls in one round trip per server.

        Raises:
            EnqueueError: The servers did not confirm all of them.
        """
        return self._run_all(calls, apns_ids, again=False)

    def ask(self, shard: int, question: Question) -> Any:
        """Run a plain command, which `question` adds to a pipeline, in a shard; return its reply.

        Raises:
            redis.RedisError: The server did not answer, or with an error.
        """
        return self.ask_all([(shard, question)])[0]

    def ask_all(self, questions: Iterable[tuple[int, Question]], *, forgive: str = state_jobs.NOTHING) -> list[Any]:
        """Run plain commands, each in its shard, in one round trip per server.

        Args:
            questions: Shard, and what adds the command to a pipeline.
            forgive: How an error begins that is an answer like others.

        Raises:
            redis.RedisError: A server did not answer, or with another error.
        """
        replies = self._do([state_jobs.of_question(shard, question) for shard, question in questions], again=False)
        if error := state_jobs.first_error(replies, but=forgive):
            raise error
        return replies

    def ask_each(
        self, question: Callable[[Any, int], Any], shards: Iterable[int], *, forgive: str = state_jobs.NOTHING
    ) -> list[Any]:
        """Run a plain command in several shards, see `ask_all`; `question` adds it to a pipeline for one of them."""

        def in_shard(shard: int) -> Question:
            return lambda pipeline: question(pipeline, shard)

        return self.ask_all([(shard, in_shard(shard)) for shard in shards], forgive=forgive)

    @contextmanager
    def transaction(self, shard: int) -> Iterator[Pipeline]:
        """Enter a transaction of the caller's own in a shard.

        Raises:
            redis.RedisError: Nobody knows where the shard is.
        """
        client = self._servers.client(shard, search_s=self._search_s)
        try:
            with client.pipeline() as transaction:
                yield transaction
        except redis.RedisError as exc:
            if will_pass(exc):
                self._servers.doubt(client)
            raise

    def info(self, *, apns_ids: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return what the server says of itself; nothing when that is forbidden.

        Raises:
            EnqueueError: It does not answer, so that nothing of the call it was asked for was done.
        """
        try:
            found: Mapping[str, Any] = self.client.info()
        except redis.exceptions.NoPermissionError:
            return {}
        except redis.RedisError as exc:
            reason = f"the state server does not answer ({type(exc).__name__})"
            raise EnqueueError(reason, certainly_not_accepted=True, apns_ids=apns_ids) from exc
        return found

    def enlist(self, call: StateCall[Any], transaction: Pipeline) -> None:
        """Add a call to a transaction of the caller's own; its reply is read by `call.read`."""
        # With its whole text: a transaction cannot be told that the server does not know the script.
        _sha, *rest = state_jobs.evalsha(call, self._clock)
        transaction.eval(scripts.source(call.script, self._clock), *rest)

    def confirm(self, shard: int) -> None:
        """Wait until replicas have what this process wrote in a shard, if they are to be waited for.

        Raises:
            EnqueueError: They did not confirm it in time.
        """
        self._check_confirmed(self._do(self._waits({shard}), again=False), ())

    @property
    def client(self) -> redis.Redis:
        """The connection to the server with the fleet's own shard: of a single server, all there is."""
        return self._servers.client(redis_keys.FLEET_SHARD, search_s=self._search_s)

    def close(self) -> None:
        """Close every connection."""
        self._servers.close()

    def _run_all(self, calls: Sequence[StateCall[ReplyT]], apns_ids: Sequence[str], *, again: bool) -> list[ReplyT]:
        jobs = [state_jobs.of_call(call, self._clock) for call in calls]
        waits = self._waits({call.shard for call in calls}) if apns_ids else []
        replies = self._do([*jobs, *waits], again=again)
        done, confirmed = replies[: len(calls)], replies[len(calls) :]
        if error := state_jobs.first_error(done):
            is_nothing_done = all(isinstance(reply, redis.RedisError) and was_refused(reply) for reply in done)
            raise _enqueue_error(error, apns_ids, certainly_not_accepted=is_nothing_done) from error
        self._check_confirmed(confirmed, apns_ids)
        return [call.read(reply) for call, reply in zip(calls, done, strict=True)]

    def _do(self, jobs: Sequence[Job], *, again: bool) -> list[Any]:
        """Return what came of each job, a reply or an error; what was refused because of the place is said again."""
        began = monotonic()
        replies = self._say(jobs, again=again)
        failed = state_jobs.to_say_again(jobs, replies, only_refused=True)
        if failed and monotonic() - began < self._again_s:
            for at, reply in zip(failed, self._say([jobs[at] for at in failed], again=True), strict=True):
                replies[at] = reply
        return replies

    def _say(self, jobs: Sequence[Job], *, again: bool) -> list[Any]:
        by_server: dict[redis.Redis, list[int]] = defaultdict(list)
        replies: list[Any] = [None] * len(jobs)
        for at, job in enumerate(jobs):
            try:
                by_server[self._servers.client(job.shard, search_s=self._search_s)].append(at)
            except redis.RedisError as exc:
                return [exc] * len(jobs)
        for client, places in by_server.items():
            for at, reply in zip(places, self._say_to(client, [jobs[at] for at in places], again=again), strict=True):
                replies[at] = reply
        return replies

    def _say_to(self, client: redis.Redis, jobs: Sequence[Job], *, again: bool) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        loaded = state_jobs.fill(pipeline, jobs, again=again)
        try:
            replies = pipeline.execute(raise_on_error=False)[loaded:]
        except redis.RedisError as exc:
            replies = [exc] * len(jobs)
        if any(isinstance(reply, redis.RedisError) and will_pass(reply) for reply in replies):
            self._servers.doubt(client)
        return replies

    def _may_say_again(self, client: redis.Redis, exc: redis.RedisError, began: float) -> bool:
        if will_pass(exc):
            self._servers.doubt(client)
        is_about_the_place = isinstance(exc, NoScriptError) or (was_refused(exc) and self._servers.is_in_doubt)
        return is_about_the_place and monotonic() - began < self._again_s

    def _waits(self, shards: Iterable[int]) -> list[Job]:
        if self._replicas is None:
            return []
        count, timeout_ms = self._replicas.count, self._replicas.timeout_ms
        pairs = (state_jobs.of_replicas(shard, count=count, timeout_ms=timeout_ms) for shard in shards)
        return [job for pair in pairs for job in pair]

    def _check_confirmed(self, replies: Sequence[Any], apns_ids: Sequence[str]) -> None:
        """Look at the replies to `_waits`: of each two the second says how many replicas confirmed."""
        wanted = self._replicas.count if self._replicas else 0
        error = state_jobs.first_error(replies)
        confirmed = 0 if error else min(replies[1::2], default=wanted)
        if confirmed < wanted:
            reason = f"{confirmed} of {wanted} replicas confirmed it in time"
            raise EnqueueError(reason, certainly_not_accepted=False, apns_ids=apns_ids) from error


def _enqueue_error(exc: redis.RedisError, apns_ids: Sequence[str], *, certainly_not_accepted: bool) -> EnqueueError:
    if certainly_not_accepted and (refusal := _refusal(exc, apns_ids)):
        return refusal
    reason = f"the state server did not take it ({type(exc).__name__})"
    return EnqueueError(reason, certainly_not_accepted=certainly_not_accepted, apns_ids=apns_ids)


def _refusal(exc: redis.RedisError, apns_ids: Sequence[str]) -> EnqueueError | None:
    if isinstance(exc, redis.OutOfMemoryError):
        return guard.server_is_full(apns_ids)
    return guard.refusal_of(str(exc), apns_ids) if isinstance(exc, redis.ResponseError) else None
