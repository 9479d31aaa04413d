"""What the state server's errors tell: was anything done, and does it pass by itself?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)

from dispatcher.errors import StateServerError


class NoServerError(redis.ConnectionError):
    """Nobody who was asked knows which server has the state at present."""


#: A shard is elsewhere, or about to be.
_ELSEWHERE: Final = (MovedError, AskError, TryAgainError, ClusterDownError, ReadOnlyError)
#: An answer that says the server wants more replicas than there are now.
_TOO_FEW_REPLICAS: Final = "NOREPLICAS"


def was_refused(exc: redis.RedisError) -> bool:
    """Tell whether a call was certainly not done.

    An answer with an error means that the script was refused before it wrote; a refused connection or password never
    reached it, nor did a question where the server is. Anything else may have been done.
    """
    # redis-py leaves the system's error in the context.
    never_reached = isinstance(exc.__cause__ or exc.__context__, (ConnectionRefusedError, FileNotFoundError))
    refusals = (redis.ResponseError, AuthenticationError, BusyLoadingError, NoServerError)
    return never_reached or isinstance(exc, refusals)


def will_pass(exc: redis.RedisError) -> bool:
    """Tell whether trying again later helps: a connection was lost, or another server is taking over."""
    if isinstance(exc, AuthenticationError):
        return False
    is_passing = isinstance(exc, (redis.ConnectionError, redis.TimeoutError, *_ELSEWHERE))
    return is_passing or str(exc).startswith(_TOO_FEW_REPLICAS)


@contextmanager
def state_server_errors() -> Iterator[None]:
    """Turn whatever redis-py raises for a question into our error.

    Raises:
        StateServerError: In place of a `RedisError`.
    """
    try:
        yield
    except redis.RedisError as exc:
        raise StateServerError(f"the state server does not answer ({type(exc).__name__})") from exc
