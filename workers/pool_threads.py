"""A few threads for ordinary functions, none of which keeps the process alive."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread


class DaemonThreads:
    """Run calls on at most `count` daemon threads, started when first needed.

    Not a `ThreadPoolExecutor`: the interpreter joins an executor's threads at exit, so that one hanging
    task would keep a stopped worker from ever ending.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads: list[Thread] = []

    def submit(self, call: Callable[[], None]) -> None:
        """Queue a call; it must not raise."""
        self._calls.put(call)
        if len(self._threads) < self._count:
            thread = Thread(target=self._work, name=f"pool-sync-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while True:
            self._calls.get()()
