"""What is wrong with a configuration, in words that say what to write instead.

A problem of the file is a pair of its line and its text; a problem of the environment is its text.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from dispatcher.settings_lines import TomlLines, TomlPath
from dispatcher.settings_schema import NAMED_TABLES, SECTIONS, AppSection, Document, Variables
from dispatcher.settings_urls import masked_url

FileProblem = tuple[int, str]
Table = Mapping[str, Any]

MAX_NAMES_SHOWN: Final = 10
MAX_VALUE_CHARS: Final = 60
KEY_ID_EXAMPLE: Final = "KEYID12345"

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_MAKE_DEV: Final = "; or run `make dev`, which starts and names all that is needed"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a question for the end of an error, beginning with a semicolon; empty when no name is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def names(known: Collection[str]) -> str:
    """Return names for an error, of many the first few."""
    shown = ", ".join(sorted(known)[:MAX_NAMES_SHOWN])
    return f"{shown} and {len(known) - MAX_NAMES_SHOWN} more" if len(known) > MAX_NAMES_SHOWN else shown or "none"


def variable_problems(error: ValidationError, env: Mapping[str, str], *, development: bool) -> Iterator[str]:
    """Yield one problem per environment variable; never shows the value of one that may hold a password."""
    fields = {field.validation_alias: field for field in Variables.model_fields.values()}
    for fault in error.errors(include_url=False):
        variable = str(fault["loc"][0])
        description = fields[variable].description
        if fault["type"] == "missing":
            mend = _MAKE_DEV if development else ""
            yield f"{variable} is not set{_misspelt(variable, env)}; set it to {description}{mend}"
        elif fault["type"] == "value_error":
            yield f"{variable} {fault['ctx']['error']}; it must be {description}"
        else:
            yield f"{variable} = {_shown(env[variable])}: must be {description}"


def document_problems(error: ValidationError, lines: TomlLines) -> Iterator[FileProblem]:
    """Yield one problem per fault that pydantic found in the configuration file."""
    for fault in error.errors(include_url=False):
        path = fault["loc"]
        if path[-1] == "[key]":
            yield lines.line_of(path[:-1]), f"{header(path[:-1])}: must be {NAMED_TABLES[str(path[0])]}"
        else:
            yield lines.line_of(path), _fault(path, fault["type"], fault["input"])


def section_problems(raw: Table, lines: TomlLines, *, production: bool) -> Iterator[FileProblem]:
    """Yield what no single field shows: references between tables, and what production refuses.

    Takes the file as it was parsed, so that these are reported together with `document_problems`.
    """
    apps = _table(raw, "apps")
    if not apps:
        yield 1, 'no app is configured; write a table [apps."your.bundle.id"] with key = "..."'
    for bundle_id, app in apps.items():
        yield from _app_problems(bundle_id, app, _table(raw, "keys"), lines)
    if production:
        for name in _table(raw, "development"):
            line = lines.line_of(("development", name))
            yield line, f"[development] {name}: is refused when APNS_MODE is production; remove it"


def has_unquoted_bundle_id(app: object) -> bool:
    """Tell whether `[apps.com.example]` was written, which TOML reads as tables within tables."""
    return isinstance(app, dict) and any(
        isinstance(inner, dict) and name not in AppSection.model_fields for name, inner in app.items()
    )


def header(path: TomlPath) -> str:
    """Return the header of a table as it is written in TOML."""
    return f"[{'.'.join(_quoted(str(name)) for name in path)}]"


def _app_problems(bundle_id: str, app: Any, keys: Table, lines: TomlLines) -> Iterator[FileProblem]:
    path = ("apps", bundle_id)
    if has_unquoted_bundle_id(app):
        for whole in _innermost(path, app):
            mend = f'write [apps."{".".join(whole[1:])}"], quoted'
            yield lines.line_of(whole), f"{header(whole)}: is a table within tables; {mend}"
        return
    key_id = app.get("key") if isinstance(app, dict) else None
    if isinstance(key_id, str) and key_id not in keys:
        mend = f"write one of {names(keys)}" if keys else f"write a table [keys.{KEY_ID_EXAMPLE}]"
        no_such_key = f"{header(path)} key = {_shown(key_id)}: no such key; {mend}{did_you_mean(key_id, keys)}"
        yield lines.line_of((*path, "key")), no_such_key


def _fault(path: TomlPath, fault_type: str, value: object) -> str:
    table, name = path[:-1], str(path[-1])
    is_table = len(path) <= (2 if path[0] in NAMED_TABLES else 1)
    if fault_type == "extra_forbidden":
        known = SECTIONS[str(path[0])].model_fields if table else Document.model_fields
        what = f"{header(table)} {name}: unknown key" if table else f"{header(path)}: unknown section"
        return what + (did_you_mean(name, known) or f"; known: {names(known)}")
    if is_table:
        return f"{header(path)}: must be a table"
    description = SECTIONS[str(path[0])].model_fields[name].description
    if fault_type == "missing":
        return f"{header(table)} {name} is missing; it must be {description}"
    return f"{header(table)} {name} = {_shown(value)}: must be {description}"


def _misspelt(variable: str, env: Mapping[str, str]) -> str:
    candidates = [name for name in env if name.upper().startswith("APNS") and name not in _VARIABLES]
    near = difflib.get_close_matches(variable, candidates, n=1, cutoff=0.8)
    return f" (is {near[0]} meant to be it?)" if near else ""


def _shown(value: object) -> str:
    text = json.dumps(masked_url(value) if isinstance(value, str) else value, default=str)
    # A long value may be a key pasted where its file's path belongs.
    return text if len(text) <= MAX_VALUE_CHARS else "..."


def _quoted(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _table(raw: Table, name: str) -> Table:
    table = raw.get(name)
    return table if isinstance(table, dict) else {}


def _innermost(path: tuple[str, ...], table: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    if not inner:
        yield path
    for name, value in inner.items():
        yield from _innermost((*path, name), value)


_VARIABLES: Final = frozenset(str(field.validation_alias) for field in Variables.model_fields.values())
