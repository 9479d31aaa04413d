"""What an error of redis-py tells: whether anything was done, and whether it passes by itself."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis import exceptions

from dispatcher.state_errors import NoServerError, was_refused, will_pass


def refused() -> redis.RedisError:
    """Return the error of a connection that was refused, as redis-py raises it."""
    exc = redis.ConnectionError("refused")
    exc.__cause__ = ConnectionRefusedError()
    return exc


def moved(kind: Any) -> redis.RedisError:
    """Return an error that names another node."""
    error: redis.RedisError = kind("13254 10.0.0.1:7000")
    return error


CASES = [
    # error, was it refused, will it pass
    (refused(), True, True),
    (NoServerError(), True, True),
    (redis.ConnectionError("Connection closed by server."), False, True),
    (redis.TimeoutError("Timeout reading from socket"), False, True),
    (exceptions.BusyLoadingError("loading"), True, True),
    (moved(exceptions.MovedError), True, True),
    (moved(exceptions.AskError), True, True),
    (exceptions.TryAgainError("multiple keys"), True, True),
    (exceptions.ClusterDownError("The cluster is down"), True, True),
    (exceptions.MasterDownError("link with MASTER is down"), True, True),
    (exceptions.ReadOnlyError("You can't write against a read only replica."), True, True),
    (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), True, True),
    (exceptions.OutOfMemoryError("command not allowed"), True, False),
    (exceptions.NoPermissionError("no permissions"), True, False),
    (exceptions.AuthenticationError("invalid password"), True, False),
    (redis.ResponseError("wrong kind of value"), True, False),
]


@pytest.mark.parametrize(("exc", "is_refused", "passes"), CASES, ids=lambda case: type(case).__name__)
def test_what_an_error_tells(exc: redis.RedisError, *, is_refused: bool, passes: bool) -> None:
    """Only what was answered, or never reached a server, was certainly not done."""
    assert (was_refused(exc), will_pass(exc)) == (is_refused, passes)
