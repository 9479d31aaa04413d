"""Find the line of a TOML file on which a table or a key is written.

`tomllib` gives values without their places. A statement of TOML is the shortest run of lines that parses alone, so the
same parser finds them again, strings over several lines included.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

TomlPath = tuple[str | int, ...]

_PLACE_IN_MESSAGE: Final = re.compile(r"\s*\(at (?:line (?P<line>\d+), column \d+|end of document)\)")


class TomlLines:
    """The places of everything written in one TOML document, which must parse as a whole."""

    def __init__(self, text: str) -> None:
        self._lines = _places(text)

    def line_of(self, path: TomlPath) -> int:
        """Return the line, from 1, of a table or key; for what is not written, of the nearest table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


def syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the line and the reason of a syntax error."""
    message = str(error)
    found = _PLACE_IN_MESSAGE.search(message)
    line = int(found["line"]) if found and found["line"] else text.count("\n") + 1
    return line, _PLACE_IN_MESSAGE.sub("", message)


def _places(text: str) -> dict[TomlPath, int]:
    """Return the line of every path; a table that only its sub-tables name has the line of the first of them."""
    written: dict[TomlPath, int] = {}
    implied: dict[TomlPath, int] = {}
    table: TomlPath = ()
    for line, statement, parsed in _statements(text):
        if statement.lstrip().startswith("["):
            table = _header_path(parsed)
            written[table] = line
            for length in range(1, len(table)):
                implied.setdefault(table[:length], line)
        else:
            written.update(dict.fromkeys(_paths(parsed, table), line))
    return implied | written


def _statements(text: str) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    pending = ""
    first = 1
    for line, content in enumerate(text.split("\n"), start=1):
        if not pending:
            first = line
        pending += content + "\n"
        try:
            parsed = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        yield first, pending, parsed
        pending = ""


def _header_path(parsed: Mapping[str, Any]) -> TomlPath:
    path: list[str] = []
    rest: Any = parsed
    while rest:
        # The header of an array of tables parses as a list of one empty table.
        (name, rest), *_others = rest.items()
        path.append(name)
        if isinstance(rest, list):
            rest = rest[0]
    return tuple(path)


def _paths(value: Any, path: TomlPath) -> Iterator[TomlPath]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from _paths(inner, (*path, name))
