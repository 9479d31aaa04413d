"""Refuse to start on a server that would lose what it accepts, and notice when it becomes one."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from dispatcher.errors import SettingsError, StateServerError
from dispatcher.server_examination import examine
from dispatcher.server_findings import Finding, Level, refusals
from dispatcher.settings import Settings

LOOK_EVERY_S: Final = 60.0
_TIMEOUT_S: Final = 5.0

log = structlog.get_logger()


async def refuse_unsafe_servers(settings: Settings) -> None:
    """Look at the servers before a start.

    Raises:
        SettingsError: They would lose something, or do not answer; one line for each problem, with its mend.
    """
    try:
        findings = await _look(settings)
    except StateServerError as exc:
        raise SettingsError([f"{exc}: see APNS_STATE_URL"]) from exc
    if problems := refusals(findings):
        raise SettingsError(problems)
    _tell(findings)


async def keep_watching(settings: Settings, *, every_s: float = LOOK_EVERY_S) -> None:
    """Look again and again, every minute if nothing else is said, and tell what is wrong; until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        try:
            _tell([finding for finding in await _look(settings) if finding.name != "maxmemory"])
        except StateServerError as exc:
            log.warning("servers_not_examined", error=str(exc))


async def _look(settings: Settings) -> list[Finding]:
    return await asyncio.to_thread(examine, settings, timeout_s=_TIMEOUT_S)


def _tell(findings: list[Finding]) -> None:
    for finding in findings:
        tell = log.error if finding.level is Level.REFUSED or finding.name == "eviction" else log.warning
        tell("server_unsafe", check=finding.name, problem=finding.problem)
