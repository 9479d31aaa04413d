"""Many processes at one barrier that all need the provider token at once.

    python -m tests.chaos.deriving 100

Prints one line of JSON: what the simulator calls the ones they made, and how long the making took, from the barrier on
and in the processor. Each asks the state server for its time by a connection of its own, as workers do.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import redis

from dispatcher import Settings
from dispatcher.dev.simulator.exchange import fingerprint
from tests.chaos.producer import APP
from workers.key_files import load_signing_keys
from workers.signing import ProviderTokens


def derive(settings: Settings, barrier: Barrier, result: Connection) -> None:
    """Wait for the others, then derive the provider token and say how long it took."""
    tokens, key_id = ProviderTokens(load_signing_keys(settings)), settings.apps[APP].key_id
    with redis.Redis.from_url(settings.state_url.get_secret_value()) as state:
        state.ping()
        barrier.wait(60)
        begun, work_begun = time.perf_counter(), time.process_time()
        seconds, microseconds = state.time()
        provider_token = tokens.current(key_id, seconds + microseconds / 1e6)
        took_s, worked_s = time.perf_counter() - begun, time.process_time() - work_begun
    result.send((fingerprint(provider_token.jwt), took_s, worked_s))


def main() -> None:
    """Start them, let them loose and tell what they made."""
    context: Any = multiprocessing.get_context("fork")  # what is the same in all of them is imported once
    count, settings = int(sys.argv[1]), Settings.from_env()
    barrier = context.Barrier(count)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=derive, args=(settings, barrier, sending)) for _, sending in pipes]
    for process in processes:
        process.start()
    results = [receiving.recv() for receiving, _ in pipes]
    for process in processes:
        process.join()
    took_s, worked_s = (sorted(column) for column in list(zip(*results, strict=True))[1:])
    found = {
        "made": sorted({made for made, *_ in results}),
        "p50_s": took_s[count // 2],
        "p99_s": took_s[count * 99 // 100],
        "worked_s": worked_s[count // 2],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
