"""A slow link between a master and its replica; what is on its way when the master dies is lost."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Final, Self

from dispatcher.dev.ports import HOST

_CHUNK_BYTES: Final = 65_536


class LaggingLink:
    """Passes on what the master says after a while.

    Attributes:
        lag_s: How long it takes, in seconds; may be changed at any time.
    """

    def __init__(self) -> None:
        self.lag_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def listen(self, master_port: int) -> int:
        """Begin to stand for a master; return the port to find it at."""

        async def serve() -> int:
            self._server = await asyncio.start_server(lambda *ends: self._pass_on(master_port, *ends), HOST, 0)
            port: int = self._server.sockets[0].getsockname()[1]
            return port

        return asyncio.run_coroutine_threadsafe(serve(), self._loop).result()

    def close(self) -> None:
        """End the link."""

        async def end() -> None:
            self._server.close()
            await asyncio.sleep(0)  # one that was just accepted gets its task
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def _pass_on(self, port: int, replica: asyncio.StreamReader, to_replica: asyncio.StreamWriter) -> None:
        to_master = None
        try:
            with suppress(OSError):
                master, to_master = await asyncio.open_connection(HOST, port)
                asking = asyncio.create_task(self._copy(replica, to_master))
                await self._copy_slowly(master, to_replica)
                asking.cancel()
        finally:
            for writer in filter(None, (to_master, to_replica)):
                writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)

    async def _copy_slowly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy until the master is gone; what is due later than that is dropped."""
        while chunk := await reader.read(_CHUNK_BYTES):
            self._loop.call_later(self.lag_s, _write, writer, chunk)


def _write(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    if not writer.is_closing():
        writer.write(chunk)
