"""`apns-dispatcher send`: one notification from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import click
import rich_click

from dispatcher import Dispatcher, Receipt
from dispatcher.notification import SendOptions
from dispatcher.push_types import Environment


def _json_object(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Mapping[str, Any] | None:
    """Return the JSON object that an option spells."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise click.BadParameter(f"not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise click.BadParameter('must be a JSON object, such as {"sync": "inbox"}')
    return value


def _time(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | datetime | None:
    """Return the time that an option spells."""
    if text is None:
        return None
    for read in (float, datetime.fromisoformat):
        with suppress(ValueError):
            return read(text)
    raise click.BadParameter("neither Unix seconds nor a time in ISO 8601")


@click.command(cls=rich_click.RichCommand)
@click.argument("app")
@click.argument("device_token", metavar="TOKEN")
@click.option("--alert", metavar="TEXT", help="Show this text.")
@click.option("--background", metavar="JSON", callback=_json_object, help="Wake the app with these keys.")
@click.option("--voip", metavar="JSON", callback=_json_object, help="Let a call ring, with these keys.")
@click.option("--title", help="Title above the text of --alert.")
@click.option("--subtitle", help="Subtitle above the text of --alert.")
@click.option("--badge", type=int, help="Number on the app's icon, with --alert.")
@click.option("--sound", help="Sound to play, with --alert.")
@click.option("--environment", type=click.Choice([str(each) for each in Environment]), help="Overrides the app's.")
@click.option("--priority", type=int, help="10, 5 or 1; each push type has its own rule.")
@click.option("--expiration", type=int, help="Unix seconds until which Apple stores it; 0 for not at all.")
@click.option("--expires-in", type=float, metavar="SECONDS", help="How long to try.")
@click.option("--send-at", metavar="TIME", callback=_time, help="Not before: Unix seconds, or ISO 8601 with a zone.")
@click.option("--collapse-id", help="Replaces a shown notification with the same id.")
@click.option("--apns-id", help="An id of your own; the same one is accepted once within a day.")
@click.option("--idempotency-key", metavar="TEXT", help="The same content with the same one is accepted once.")
@click.option("--track", is_flag=True, help="Keep how it ended, for the command status.")
def send(  # noqa: PLR0913  a parameter for each option
    *,
    app: str,
    device_token: str,
    alert: str | None,
    background: Mapping[str, Any] | None,
    voip: Mapping[str, Any] | None,
    title: str | None,
    subtitle: str | None,
    badge: int | None,
    sound: str | None,
    environment: str | None,
    priority: int | None,
    expiration: int | None,
    expires_in: float | None,
    send_at: float | datetime | None,
    collapse_id: str | None,
    apns_id: str | None,
    idempotency_key: str | None,
    track: bool,
) -> None:
    """Send one notification.

    It goes to the device TOKEN of APP, a configured bundle id. Prints its receipt. Needs the same
    APNS_ variables as a web app.
    """
    shown: dict[str, Any] = {"title": title, "subtitle": subtitle, "badge": badge, "sound": sound}
    _check_kind({"--alert": alert, "--background": background, "--voip": voip}, shown)
    options = SendOptions(
        environment=Environment(environment) if environment else None,
        priority=priority,
        expiration=expiration,
        expires_in=expires_in,
        send_at=send_at,
        collapse_id=collapse_id,
        apns_id=apns_id,
        idempotency_key=idempotency_key,
        track=track,
    )
    with Dispatcher.from_env() as push:
        if background is not None:
            receipt = push.background(app, device_token, background, **options)
        elif voip is not None:
            receipt = push.voip(app, device_token, voip, **options)
        else:
            receipt = push.alert(app, device_token, body=alert, **shown, **options)
    click.echo(describe(receipt))


def describe(receipt: Receipt) -> str:
    """Return a receipt in words."""
    notes = {
        "was accepted before, nothing was added": receipt.repeated,
        "replaced one still waiting": receipt.replaced,
        "not queued yet, the broker does not answer: a worker will see to it": not receipt.queued,
    }
    return "\n".join(
        [f"accepted {receipt.apns_id} in lane {receipt.lane}", *(note for note, holds in notes.items() if holds)]
    )


def _check_kind(kinds: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    given = [name for name, value in kinds.items() if value is not None]
    if len(given) > 1 or (not given and shown["title"] is None):
        raise click.UsageError(f"give one of {', '.join(kinds)}")
    if given in (["--background"], ["--voip"]) and any(value is not None for value in shown.values()):
        raise click.UsageError(f"{given[0]} shows nothing: --title, --subtitle, --badge and --sound go with --alert")
