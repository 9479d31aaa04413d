"""Read a simulator's settings from texts: from a command line, or from a file of cases."""

from __future__ import annotations

from dataclasses import fields, replace
from enum import Enum
from typing import Any, Final

from dispatcher.dev.simulator.settings import ChurnScope, IdleManner, SimulatorSettings, TokenIdentity
from dispatcher.errors import SettingsError
from dispatcher.push_types import Environment

_ENUMS: Final[dict[str, type[Enum]]] = {
    "environment": Environment,
    "churn_scope": ChurnScope,
    "token_identity": TokenIdentity,
    "idle_manner": IdleManner,
}
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def with_setting(settings: SimulatorSettings, name: str, text: str) -> SimulatorSettings:
    """Return settings of which one is read from a text.

    Raises:
        SettingsError: There is no such setting, or it cannot have this value.
    """
    if name not in {each.name for each in fields(SimulatorSettings)}:
        raise SettingsError([f"the simulator has no setting {name}"])
    try:
        return replace(settings, **{name: _read(name, text)})
    except (KeyError, ValueError) as exc:
        raise SettingsError([f"{name} cannot be {text!r}"]) from exc


def _read(name: str, text: str) -> Any:
    if name in _ENUMS:
        return _ENUMS[name](text)
    if name == "max_expiration":
        return int(text) if text else None
    default = getattr(SimulatorSettings(), name)
    if isinstance(default, bool):
        return _BOOLEANS[text.lower()]
    return type(default)(text)
