"""Ask a Flower of this machine whether it is there."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from dispatcher.dev.ports import HOST


def is_healthy(flower_port: int) -> bool:
    """Tell whether Flower serves its pages."""
    connection = HTTPConnection(HOST, flower_port, timeout=1.0)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
