"""What the commands for dead letters have in common: which ones are meant, and how one is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from itertools import islice
from typing import Any, Final

import click

from dispatcher.dead_letter import DeadLetter, Wanted, shortened
from dispatcher.dead_letters import DeadLetters
from dispatcher.push_types import PUSH_TYPES

_AGO: Final = re.compile(r"(?P<number>\d+)(?P<unit>[smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


Moment = Callable[[float], float]
"""Takes the present and returns a time, both in Unix seconds."""


def _moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Moment | None:
    """Return the time that an option spells: `90m`, `2h` or `7d` ago, or a date, in UTC unless it says otherwise."""
    if text is None:
        return None
    if found := _AGO.fullmatch(text):
        ago_s = int(found["number"]) * _UNIT_S[found["unit"]]
        return lambda now: now - ago_s
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter("must be like 90m, 2h, 7d (ago) or 2030-12-31T23:59") from exc
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return lambda _now: at


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters a command line means.

    Attributes:
        wanted: Everything but the times.
        since: Not before.
        until: Not after; what is added while the command runs is never meant.
        limit: At most so many; None for all.
    """

    wanted: Wanted
    since: Moment | None
    until: Moment | None
    limit: int | None

    @property
    def is_everything(self) -> bool:
        """Whether nothing was asked for in particular."""
        return self.wanted == Wanted() and (self.since, self.until, self.limit) == (None, None, None)

    def find(self, letters: DeadLetters) -> Iterator[DeadLetter]:
        """Yield them, oldest first."""
        now = letters.now()
        since = self.since(now) if self.since else None
        until = min(now, self.until(now)) if self.until else now
        yield from islice(letters.find(replace(self.wanted, since=since, until=until)), self.limit)


def selected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that select dead letters, and the argument `selection` made from them."""

    @wraps(command)
    def with_selection(**given: Any) -> Any:
        names = ("app", "reason", "push_type", "apns_id")
        wanted = Wanted(**{name: given.pop(name) for name in names})
        rest = {name: given.pop(name) for name in ("since", "until", "limit")}
        return command(selection=Selection(wanted=wanted, **rest), **given)

    options = (
        click.option("--app", metavar="BUNDLE_ID", help="Of this app; 'unreadable' for what could not be read."),
        click.option("--reason", help="With exactly this reason, such as ServiceUnavailable."),
        click.option("--push-type", type=click.Choice(list(PUSH_TYPES)), help="Of this push type."),
        click.option(
            "--since",
            metavar="TIME",
            callback=_moment,
            help="Not older: 90m, 2h, 7d, or a date such as 2030-12-31T23:59.",
        ),
        click.option("--until", metavar="TIME", callback=_moment, help="Not younger."),
        click.option("--apns-id", metavar="ID", help="Only this one."),
        click.option("--limit", type=click.IntRange(min=1), metavar="NUMBER", help="At most so many, the oldest."),
    )
    decorated: Callable[..., Any] = with_selection
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def one_line(letter: DeadLetter) -> str:
    """Return a dead letter in one line: when, which, whose, why, and the ends of its device token."""
    parts = (shown_time(letter.at), letter.apns_id, letter.app, letter.push_type, last_answer(letter))
    to = (f"to {shortened(letter.device_token)}",) if letter.device_token else ()
    return "  ".join(part for part in (*parts, *to) if part)


def last_answer(letter: DeadLetter) -> str:
    """Return status and reason of the last try."""
    return f"{letter.status} {letter.reason}" if letter.status else letter.reason


def shown_time(at: float) -> str:
    """Return Unix seconds as people read them, in UTC."""
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%d %H:%M:%S}Z"
