"""Read the environment and the configuration file, each with all of its problems at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from dispatcher import record_keys
from dispatcher.record_keys import RecordKeys
from dispatcher.settings_lines import TomlLines, syntax_problem
from dispatcher.settings_problems import (
    FileProblem,
    document_problems,
    has_unquoted_bundle_id,
    section_problems,
    variable_problems,
)
from dispatcher.settings_schema import RECORD_KEYS_FORM, Document, Variables

_NAME_THE_FILE: Final = "it must name the file that holds the keys of APNS_RECORD_KEYS"


def read_variables(env: Mapping[str, str]) -> tuple[Variables | None, list[str]]:
    """Return the environment variables, or None and what is wrong with them."""
    source = EnvSettingsSource(Variables)
    source.env_vars = env
    try:
        return Variables(**source()), []
    except ValidationError as exc:
        return None, list(variable_problems(exc, env, development=env.get("APNS_MODE") != "production"))


def read_document(path: Path, *, production: bool) -> tuple[Document | None, list[str]]:
    """Return the configuration file, or None and what is wrong with it, in the order of its lines."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None, [f"{path}: there is no such file; APNS_CONFIG must name the TOML file with your keys and apps"]
    except OSError as exc:
        return None, [f"{path}: cannot be read ({exc.strerror})"]
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        return None, [f"{path} line {line}: is not UTF-8; save it as UTF-8"]
    document, problems = _parse(text, production=production)
    return document, [f"{path} line {line}: {problem}" for line, problem in sorted(problems)]


def _parse(text: str, *, production: bool) -> tuple[Document | None, list[FileProblem]]:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        line, reason = syntax_problem(exc, text)
        return None, [(line, f"is not valid TOML: {reason}")]
    lines = TomlLines(text)
    problems = list(section_problems(raw, lines, production=production))
    apps = raw.get("apps")
    if isinstance(apps, dict):
        # Reported above, in one line; pydantic would call each of its words an unknown key.
        raw["apps"] = {bundle_id: app for bundle_id, app in apps.items() if not has_unquoted_bundle_id(app)}
    try:
        return Document.model_validate(raw), problems
    except ValidationError as exc:
        return None, problems + list(document_problems(exc, lines))


def read_record_keys(variables: Variables) -> tuple[RecordKeys, list[str]]:
    """Return the keys that records are sealed with, and what is wrong with their file; never shows any of them."""
    if variables.record_keys is not None:
        both = "APNS_RECORD_KEYS and APNS_RECORD_KEYS_FILE are both set; set only one of them"
        found = record_keys.parse(variables.record_keys.get_secret_value())
        return found, [both] if variables.record_keys_file else []
    if variables.record_keys_file is None:
        return RecordKeys(), []
    where = f"APNS_RECORD_KEYS_FILE {variables.record_keys_file}"
    try:
        return record_keys.parse(Path(variables.record_keys_file).read_bytes().decode()), []
    except OSError as exc:
        return RecordKeys(), [f"{where}: cannot be read ({exc.strerror}); {_NAME_THE_FILE}"]
    except UnicodeDecodeError:
        return RecordKeys(), [f"{where}: is not UTF-8; it must hold {RECORD_KEYS_FORM}"]
    except ValueError as exc:
        return RecordKeys(), [f"{where}: {exc}; it must hold {RECORD_KEYS_FORM}"]
