"""The state server as workers see it: calls are made again for a while, until somebody answers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from dispatcher import redis_keys, state_jobs
from dispatcher.scripts import Clock
from dispatcher.shard_servers import AsyncShardServers
from dispatcher.state_call import StateCall
from dispatcher.state_connections import connect_async
from dispatcher.state_errors import will_pass
from dispatcher.state_jobs import Job, Question
from dispatcher.topology import topology_of

ReplyT = TypeVar("ReplyT")

#: Long enough for another server to take over, with Sentinels or nodes that count one as gone after 5 s.
_PATIENCE_S: Final = 15.0
_FIRST_DELAY_S: Final = 0.05
_LONGEST_DELAY_S: Final = 0.5


class AsyncStateServer:
    """Runs calls and plain commands; what was not answered is said again, which `state_call.py` shows to be right."""

    def __init__(self, url: str, *, clock: Clock, patience_s: float = _PATIENCE_S) -> None:
        """Make it; connects at the first call.

        Args:
            url: Its address, see `topology.py`.
            clock: Whose seconds scripts count.
            patience_s: How long to try again.
        """
        self._clock = clock
        self._patience_s = patience_s
        self._servers = AsyncShardServers(topology_of(url), connect=connect_async, ask=connect_async)

    async def run(self, call: StateCall[ReplyT]) -> ReplyT:
        """Run one call.

        Raises:
            redis.RedisError: The server did not confirm it.
        """
        client = None
        try:
            client = await self._servers.client(call.shard)
            return call.read(await client.evalsha(*state_jobs.evalsha(call, self._clock)))
        except redis.RedisError as exc:
            if not (isinstance(exc, NoScriptError) or will_pass(exc)):
                raise
            if client is not None and will_pass(exc):
                self._servers.doubt(client)
        (reply,) = await self._do([state_jobs.of_call(call, self._clock)], again=True)
        return call.read(reply)

    async def run_all(self, calls: Iterable[StateCall[ReplyT]]) -> list[ReplyT]:
        """Run calls in one round trip per server.

        Raises:
            redis.RedisError: The servers did not confirm all of them.
        """
        calls = tuple(calls)
        replies = await self._do([state_jobs.of_call(call, self._clock) for call in calls])
        return [call.read(reply) for call, reply in zip(calls, replies, strict=True)]

    async def ask(self, shard: int, question: Question) -> Any:
        """Run a plain command, which `question` adds to a pipeline, in a shard; return its reply.

        Raises:
            redis.RedisError: The server did not answer, or with an error.
        """
        return (await self.ask_all([(shard, question)]))[0]

    async def ask_all(self, questions: Iterable[tuple[int, Question]]) -> list[Any]:
        """Run plain commands, each in its shard, in one round trip per server.

        Raises:
            redis.RedisError: A server did not answer, or with an error.
        """
        return await self._do([state_jobs.of_question(shard, question) for shard, question in questions])

    @property
    def client(self) -> redis.asyncio.Redis:
        """The connection to the server with the fleet's own shard, once found: of a single server, all there is."""
        return self._servers.known_client(redis_keys.FLEET_SHARD)

    async def close(self) -> None:
        """Close every connection."""
        await self._servers.close()

    async def _do(self, jobs: Sequence[Job], *, again: bool = False) -> list[Any]:
        """Return the replies; what failed and may go better is said again until patience ends."""
        replies = await self._say(jobs, again=again)
        ends, delays = monotonic() + self._patience_s, _delays_s()
        while failed := state_jobs.to_say_again(jobs, replies, only_refused=False):
            if monotonic() >= ends:
                break
            if again or not all(isinstance(replies[at], NoScriptError) for at in failed):
                await asyncio.sleep(next(delays))
            again = True
            said = await self._say([jobs[at] for at in failed], again=again)
            for at, reply in zip(failed, said, strict=True):
                replies[at] = reply
        if error := state_jobs.first_error(replies):
            raise error
        return replies

    async def _say(self, jobs: Sequence[Job], *, again: bool) -> list[Any]:
        by_server: dict[redis.asyncio.Redis, list[int]] = defaultdict(list)
        replies: list[Any] = [None] * len(jobs)
        for at, job in enumerate(jobs):
            try:
                by_server[await self._servers.client(job.shard)].append(at)
            except redis.RedisError as exc:
                return [exc] * len(jobs)
        for client, places in by_server.items():
            said = await self._say_to(client, [jobs[at] for at in places], again=again)
            for at, reply in zip(places, said, strict=True):
                replies[at] = reply
        return replies

    async def _say_to(self, client: redis.asyncio.Redis, jobs: Sequence[Job], *, again: bool) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        loaded = state_jobs.fill(pipeline, jobs, again=again)
        try:
            replies: list[Any] = (await pipeline.execute(raise_on_error=False))[loaded:]
        except redis.RedisError as exc:
            replies = [exc] * len(jobs)
        if any(isinstance(reply, redis.RedisError) and will_pass(reply) for reply in replies):
            self._servers.doubt(client)
        return replies


def _delays_s() -> Iterator[float]:
    delay_s = _FIRST_DELAY_S
    while True:
        yield delay_s
        delay_s = min(_LONGEST_DELAY_S, 2 * delay_s)
