"""`apns-dispatcher dead`: look through what could not be sent, send it again, or drop it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import click
import rich_click

from dispatcher.cli.dead_options import Selection, last_answer, one_line, selected, shown_time
from dispatcher.dead_letter import DeadLetter, shortened
from dispatcher.dead_letters import DeadLetters
from dispatcher.errors import MessageError
from dispatcher.replay import Replay
from dispatcher.settings import Settings


@click.group(cls=rich_click.RichGroup)
def dead() -> None:
    """Look through what could not be sent, send it again, or drop it.

    Dead letters are kept for 30 days, at most some 10,000 per app and shard. Without options a command means all of
    them, of every configured app.
    """


@dead.command(name="list")
@selected
def list_letters(*, selection: Selection) -> None:
    """Show one line for each."""
    with DeadLetters(Settings.from_env()) as letters:
        count = 0
        for letter in selection.find(letters):
            click.echo(one_line(letter))
            count += 1
    click.echo(_how_many(count))


@dead.command()
@selected
@click.option("--payload", is_flag=True, help="Show the payload, too.")
def show(*, selection: Selection, payload: bool) -> None:
    """Show all that is known of each, with its last tries."""
    with DeadLetters(Settings.from_env()) as letters:
        for letter in selection.find(letters):
            for name, text in _details(letters, letter, with_payload=payload):
                click.echo(f"{name:<14} {text}")
            click.echo()


@dead.command()
@selected
@click.option("--dry-run", is_flag=True, help="Only show what would become of each.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="NUMBER", help="At most so many a second.")
@click.option("--drop-expired", is_flag=True, help="Drop those whose time is over.")
def replay(*, selection: Selection, dry_run: bool, rate: float | None, drop_expired: bool) -> None:
    """Send them again, with all tries before them.

    Each keeps its apns id. One whose time is over, counted from when it was first accepted, is not sent and stays; so
    does one that cannot be read, and one whose device has got something newer.
    """
    results: Counter[str] = Counter()
    with DeadLetters(Settings.from_env()) as letters:
        for letter in selection.find(letters):
            result = letters.replay(letter, is_rehearsal=dry_run)
            is_dropped = result is Replay.EXPIRED and drop_expired
            if is_dropped and not dry_run:
                letters.drop(letter)
            word = f"{result}, dropped" if is_dropped else result.value
            click.echo(f"{word}: {one_line(letter)}")
            results[word] += 1
            if rate is not None and not dry_run:
                time.sleep(1 / rate)
    summary = "; ".join(f"{count} {word}" for word, count in results.most_common()) or _how_many(0)
    click.echo(_as_a_rehearsal(summary, dry_run=dry_run))


@dead.command()
@selected
@click.option("--dry-run", is_flag=True, help="Only show which ones.")
@click.option("--all", "everything", is_flag=True, help="Needed to drop all of them.")
def drop(*, selection: Selection, dry_run: bool, everything: bool) -> None:
    """Forget them for good."""
    if selection.is_everything and not (everything or dry_run):
        raise click.UsageError("say which ones, or --all")
    count = 0
    with DeadLetters(Settings.from_env()) as letters:
        for letter in selection.find(letters):
            click.echo(one_line(letter))
            if not dry_run:
                letters.drop(letter)
            count += 1
    click.echo(_as_a_rehearsal(f"{_how_many(count)} dropped", dry_run=dry_run))


def _how_many(count: int) -> str:
    return {0: "no dead letters", 1: "1 dead letter"}.get(count, f"{count:,} dead letters")


def _as_a_rehearsal(summary: str, *, dry_run: bool) -> str:
    return f"nothing was changed; it would be: {summary}" if dry_run else summary


def _details(letters: DeadLetters, letter: DeadLetter, *, with_payload: bool) -> Iterator[tuple[str, str]]:
    yield "apns id", letter.apns_id
    yield "app", letter.app
    yield "ended", shown_time(letter.at)
    yield "reason", last_answer(letter)
    if letter.environment:
        yield "accepted", shown_time(letter.accepted_at)
        yield "environment", letter.environment
        yield "push type", letter.push_type
        yield "device token", shortened(letter.device_token) if letter.device_token else "cannot be opened"
    for number, tried in enumerate(letter.tries, start=1):
        at, _, reason = tried.partition(" ")
        yield f"try {number}", f"{shown_time(float(at))}  {reason}"
    if not letter.told:
        yield from _record(letters, letter, with_payload=with_payload)


def _record(letters: DeadLetters, letter: DeadLetter, *, with_payload: bool) -> Iterator[tuple[str, str]]:
    try:
        stored = letters.opened(letter)
    except MessageError as exc:
        yield "record", str(exc)
        return
    yield "priority", str(stored.priority)
    if stored.expiration is not None:
        yield "expiration", str(stored.expiration)
    if (expires_at := stored.expires_at(letter.accepted_at)) is not None:
        yield "expires", shown_time(expires_at)
    if stored.collapse_id is not None:
        yield "collapse id", stored.collapse_id
    if with_payload:
        yield "payload", stored.payload.decode(errors="replace")
