"""Connections to the servers that have the shards, found again when the state moves to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final, Generic, TypeVar

import redis
import redis.asyncio

from dispatcher.state_errors import NoServerError
from dispatcher.topology import Places, Topology

ClientT = TypeVar("ClientT", redis.Redis, redis.asyncio.Redis)

_NOBODY_KNOWS: Final = "nobody who was asked knows which server has the state"


class _Servers(Generic[ClientT]):
    """What is known of the servers, and the connections to them.

    Args:
        topology: How they are found.
        connect: Makes the connection to a server.
        ask: Makes the short one to somebody who is asked where the shards are.
    """

    def __init__(self, topology: Topology, *, connect: Callable[[str], ClientT], ask: Callable[[str], ClientT]) -> None:
        self._topology = topology
        self._connect: Callable[[str], ClientT] = connect
        self._ask: Callable[[str], ClientT] = ask
        self._places: Places = topology.fixed or {}
        self._clients: dict[str, ClientT] = {}
        self._doubted: str | None = None

    def doubt(self, client: ClientT) -> None:
        """Look where the shards are before the next call: this server did not answer, or said they are elsewhere."""
        if not self._topology.fixed:
            self._doubted = next((url for url, known in tuple(self._clients.items()) if known is client), None)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the next call looks where the shards are."""
        return self._doubted is not None

    def known_client(self, shard: int) -> ClientT:
        """Return the connection to the server that had a shard when that was last looked up."""
        url = self._places[shard]
        return self._clients.get(url) or self._clients.setdefault(url, self._connect(url))

    def _must_search(self) -> bool:
        return self.is_in_doubt or not self._places

    def _guides(self) -> Iterator[str]:
        return self._topology.guides_in_turn(self._places, last=self._doubted)

    def _found(self, places: Places) -> None:
        self._places, self._doubted = places, None


class ShardServers(_Servers[redis.Redis]):
    """The connections of a process; its threads may share them."""

    def client(self, shard: int, *, search_s: float) -> redis.Redis:
        """Return the connection to the server that has a shard, as far as is known.

        Args:
            shard: Which.
            search_s: How long to go on asking if it has to be found, in seconds.

        Raises:
            NoServerError: Nobody knows.
        """
        if self._must_search():
            self._search(ends=monotonic() + search_s)
        return self.known_client(shard)

    def addresses(self, *, search_s: float) -> tuple[str, ...]:
        """Return the address of every server that has shards.

        Raises:
            NoServerError: Nobody knows.
        """
        if self._must_search():
            self._search(ends=monotonic() + search_s)
        return tuple(dict.fromkeys(self._places.values()))

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.close()

    def _search(self, *, ends: float) -> None:
        for guide in self._guides():
            if places := self._places_by(guide):
                return self._found(places)
            if monotonic() > ends:
                break
        raise NoServerError(_NOBODY_KNOWS)

    def _places_by(self, guide: str) -> Places | None:
        try:
            with self._ask(guide) as client:
                answer = client.execute_command(*self._topology.question)
                return self._topology.read(answer, guide)
        except redis.RedisError:
            return None


class AsyncShardServers(_Servers[redis.asyncio.Redis]):
    """The connections of a loop."""

    async def client(self, shard: int) -> redis.asyncio.Redis:
        """Return the connection to the server that has a shard, as far as is known.

        Raises:
            NoServerError: Nobody knows.
        """
        if self._must_search():
            await self._search()
        return self.known_client(shard)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()

    async def _search(self) -> None:
        for guide in self._guides():
            if places := await self._places_by(guide):
                return self._found(places)
        raise NoServerError(_NOBODY_KNOWS)

    async def _places_by(self, guide: str) -> Places | None:
        try:
            async with self._ask(guide) as client:
                return self._topology.read(await client.execute_command(*self._topology.question), guide)  # type: ignore[no-untyped-call]
        except redis.RedisError:
            return None
