"""What a person's phone would have shown, and what the app would have been woken for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dispatcher.dev.simulator import SimulatorSettings, device_token

if TYPE_CHECKING:
    from dispatcher.dev.simulator import AcceptedPush, Phone
    from tests.simulator.client import Client
    from tests.simulator.running import Run, RunningSimulator

ORDINARY, VOIP, OTHER = device_token(1), device_token(2), device_token(3)
BACKGROUND = {"apns_push_type": "background", "apns_priority": "5"}
CALL = {"apns_push_type": "voip", "apns_topic": "com.ex.a.voip", "device_token": VOIP}
HOUR_S = 3600


def push(apns: RunningSimulator, client: Client, payload: dict[str, Any], **changes: Any) -> None:
    """Push something that Apple accepts."""
    headers = {"device_token": ORDINARY, "provider_token": apns.sign(), **changes}
    assert client.ask(apns.headers(**headers), json.dumps(payload).encode()).status == 200


def alert(apns: RunningSimulator, client: Client, text: str, **changes: Any) -> None:
    """Push an alert."""
    push(apns, client, {"aps": {"alert": text}}, **changes)


def update(apns: RunningSimulator, client: Client, number: int) -> None:
    """Push a background update."""
    push(apns, client, {"aps": {"content-available": 1}, "number": number}, **BACKGROUND)


def texts(pushes: tuple[AcceptedPush, ...]) -> list[str]:
    """Return the alerts of pushes."""
    return [json.loads(each.payload)["aps"]["alert"] for each in pushes]


def numbers(pushes: tuple[AcceptedPush, ...]) -> list[int]:
    """Return which background updates these are."""
    return [json.loads(each.payload)["number"] for each in pushes]


def run_with_phone(run: Run) -> tuple[RunningSimulator, Phone]:
    """Return a simulator that lets provider tokens change, and a phone with two device tokens."""
    apns = run(SimulatorSettings(distinct_tokens_allowed=1_000, device_burst=0))
    return apns, apns.phone(ORDINARY, VOIP)


def test_alerts_stand_on_the_lock_screen(run: Run) -> None:
    """Alerts are shown in order; one of the same collapse id takes the place of the earlier; others are not touched."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        alert(apns, client, "one", apns_collapse_id="order")
        alert(apns, client, "two")
        alert(apns, client, "three", apns_collapse_id="order")
        alert(apns, client, "not for us", device_token=OTHER)

    assert texts(phone.lock_screen) == ["two", "three"]
    assert texts(phone.received) == ["one", "two", "three"]


def test_opening_the_app_clears_the_lock_screen(run: Run) -> None:
    """Once the app is opened its alerts are gone."""
    apns, phone = run_with_phone(run)
    with apns.connect() as client:
        alert(apns, client, "seen")

    phone.launch_app()

    assert phone.lock_screen == ()


def test_a_badge_is_no_alert(run: Run) -> None:
    """A push of a badge alone reaches the phone and shows nothing on the lock screen."""
    apns, phone = run_with_phone(run)
    with apns.connect() as client:
        push(apns, client, {"aps": {"badge": 3}})

    assert (len(phone.received), phone.lock_screen) == (1, ())


def test_an_offline_phone_gets_the_newest_of_each_topic(run: Run) -> None:
    """Of what comes while it is offline one push per device token and topic is kept, unless it may not be stored."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        phone.go_offline()
        alert(apns, client, "old")
        alert(apns, client, "new")
        push(apns, client, {"call": 1}, **CALL)
        push(apns, client, {"call": 2}, apns_expiration="0", **CALL)
        assert texts(phone.received) == []
        phone.go_online()

    assert texts(phone.lock_screen) == ["new"]
    assert [json.loads(each.payload) for each in phone.received][1:] == [{"call": 1}]
    assert len(apns.simulator.storage) == 0


def test_what_has_expired_is_never_delivered(run: Run) -> None:
    """A stored push whose time is over when the phone comes online is gone."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        phone.go_offline()
        alert(apns, client, "late", apns_expiration=str(int(apns.clock.now) + 60))
        apns.clock.now += 61
        phone.go_online()

    assert phone.received == ()


def test_a_phone_turned_on_gets_what_was_stored(run: Run) -> None:
    """A push from before anybody asked for the phone waits for it."""
    apns = run()
    with apns.connect() as client:
        alert(apns, client, "waiting")

    assert texts(apns.phone(ORDINARY.upper()).lock_screen) == ["waiting"]
    assert apns.phone(ORDINARY) is apns.phone(ORDINARY)


def test_the_background_budget_holds_the_newest(run: Run) -> None:
    """Beyond three within an hour the newest is held, the older ones are dropped; it comes when the hour is over."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        for number in range(6):
            update(apns, client, number)
            apns.clock.now += 60
        held = phone.held_background
        assert held is not None
        assert (numbers(phone.received), numbers((held,))) == ([0, 1, 2], [5])
        apns.clock.now += HOUR_S - 6 * 60

    assert numbers(phone.received) == [0, 1, 2, 5]
    assert phone.held_background is None
    assert numbers(tuple(dropped.push for dropped in phone.dropped)) == [3, 4]


def test_alerts_and_calls_have_no_budget(run: Run) -> None:
    """However many alerts and calls come, they come through."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        for number in range(10):
            alert(apns, client, str(number))
            push(apns, client, {"call": number}, **CALL)

    assert len(phone.received) == 20


def test_launching_the_app_delivers_what_is_held(run: Run) -> None:
    """A held background push is handed over at once when the person opens the app."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        for number in range(4):
            update(apns, client, number)
    phone.launch_app()

    assert numbers(phone.received) == [0, 1, 2, 3]


def test_force_quit_discards_and_silences(run: Run) -> None:
    """After a force-quit the held push is lost and no background push wakes the app until it is opened; a call does."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        for number in range(4):
            update(apns, client, number)
        phone.force_quit()
        apns.clock.now += HOUR_S
        update(apns, client, 4)
        push(apns, client, {"call": 1}, **CALL)
        alert(apns, client, "shown all the same")
        assert phone.is_force_quit
        assert len(phone.received) == 5
        phone.launch_app()
        update(apns, client, 5)

    assert numbers(phone.received[:3]) + numbers(phone.received[5:]) == [0, 1, 2, 5]
    assert {each.why for each in phone.dropped} == {"the person has force-quit the app"}


def test_what_no_phone_understands_reaches_nobody(run: Run) -> None:
    """A background push with an alert in it, an alert without words and a payload that is no JSON are dropped."""
    apns, phone = run_with_phone(run)

    with apns.connect() as client:
        push(apns, client, {"aps": {"content-available": 1, "alert": "hi"}}, **BACKGROUND)
        push(apns, client, {"aps": {}})
        assert client.ask(apns.headers(device_token=ORDINARY), b"no JSON").status == 200

    assert phone.received == ()
    assert [each.why.partition(":")[0] for each in phone.dropped] == ["payload.aps", "payload.aps", "payload"]


def test_without_a_push_type_the_payload_decides(run: Run) -> None:
    """A push without apns-push-type that only says content-available wakes the app as a background push does."""
    apns, phone = run_with_phone(run)
    phone.force_quit()

    with apns.connect() as client:
        push(apns, client, {"aps": {"content-available": 1}}, apns_push_type=None)
        alert(apns, client, "hi", apns_push_type=None)

    assert texts(phone.received) == ["hi"]


def test_an_uninstalled_app_is_noticed_late(run: Run) -> None:
    """After the removal of the app Apple answers 200 for a day, then 410 with the time; installed again, 200."""
    apns, phone = run_with_phone(run)
    removed_at = apns.clock.now

    with apns.connect() as client:
        phone.uninstall()
        alert(apns, client, "into the void")
        apns.clock.now += 86_400
        gone = client.ask(apns.headers(device_token=ORDINARY, provider_token=apns.sign()), b"{}")
        phone.install()
        alert(apns, client, "back")

    assert gone.body == b'{"reason":"Unregistered","timestamp":%d}' % ((removed_at + 86_400) * 1000)
    assert texts(phone.received) == ["back"]
    assert [each.why for each in phone.dropped] == ["the app is not there any more"]
