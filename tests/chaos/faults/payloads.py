"""P1, P3 to P6: notifications that are poison, wrong, repeated, too late, or followed by newer ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from dispatcher import ConflictError, Lane, Notification, NotificationError, Outcome, Receipt, Report
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.replay import Replay
from tests.chaos.ledger import ACCEPTED
from tests.chaos.producer import APP, CALL_S, DEVICES
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless
from workers.endings import MAX_CRASHES
from workers.lease import LANE_TIMES
from workers.retry import SILENCE_RULES

RAISES, KILLS = "ee" * 32, "dd" * 32
AROUND: Final = 100
TIMES: Final = 5
CALLS: Final = 500
UPDATED: Final = 200
VERSIONS: Final = 50
KILLED_AFTER: Final = (10, 20, 30, 40)
ANSWER_AFTER_S: Final = 0.2

#: The least that Apple asks for.
_APS: Final[dict[str, dict[str, Any]]] = {"alert": {"alert": "a"}, "voip": {}, "background": {"content-available": 1}}


def _poison(directory: Path) -> Findings:
    with Rig(directory, lanes=[]) as rig:
        sender = rig.sender()
        others = [device_token(number) for number in range(AROUND)]
        sender.alerts_to([*others[:50], KILLS, *others[50:], RAISES])
        env = {"CHAOS_RAISES": RAISES, "CHAOS_KILLS": KILLS}
        for _ in range(MAX_CRASHES):
            worker = rig.start_worker(Lane.ALERT, app="tests.chaos.poisonous", env=env)
            rig.wait_for_end(worker)
            rig.advance(LANE_TIMES[Lane.ALERT].lease_s + 1)
        rig.start_worker(Lane.ALERT, app="tests.chaos.poisonous", env=env)
        found = settled(rig, deaths=len(rig.exits))
        with DeadLetters(rig.settings) as letters:
            dead = {letter.device_token: letter for letter in letters.find(Wanted(app=APP))}
            rig.terminate(rig.pick())
            replayed = [letters.replay(letter) for letter in dead.values()]
        rig.drain(within_s=60)
        healed = {each.device_token for each in rig.arrived() if each.status == ACCEPTED} & {RAISES, KILLS}
        tries = len(dead[RAISES].tries) + 1 if RAISES in dead else 0  # and the last one
        most = SILENCE_RULES.ordinary.max_attempts
        return found.with_facts(tries=tries, replayed=len(healed)).but(
            *unless(set(dead) == {RAISES, KILLS}, f"{len(dead)} dead letters"),
            *unless(len(rig.exits) == MAX_CRASHES, f"{len(rig.exits)} workers died"),
            *unless(tries == most, f"tried {tries} times instead of {most}"),
            *unless(replayed == [Replay.REPLAYED] * 2 and len(healed) == 2, "replaying did not deliver"),
        )


def _refused_at_the_call(directory: Path) -> Findings:
    with Rig(directory, lanes=[]) as rig:
        sender, device = rig.sender(), device_token(1)
        wrong: dict[str, tuple[str, Callable[[], Receipt]]] = {
            "payload: is 4097 bytes": ("an alert too large", partial(_send, rig, "alert", device, 4097)),
            "payload: is 5121 bytes": ("a call too large", partial(_send, rig, "voip", device, 5121)),
            "payload: is 16384 bytes": ("an update too large", partial(_send, rig, "background", device, 16_384)),
            "device_token: ": ("a device token of letters", partial(_send, rig, "alert", "zz" * 32, 100)),
            "device_token:": ("a device token that is a path", partial(_send, rig, "alert", "../../x", 100)),
            "app: ": ("an unknown app", partial(_send, rig, "alert", device, 100, app="com.example.unknown")),
        }
        problems: list[str] = []
        for said, (name, call) in wrong.items():
            try:
                call()
            except NotificationError as exc:
                problems += unless(str(exc).startswith(said), f"{name}: {exc}")
                problems += unless(device not in str(exc), f"{name}: the error shows a device token")
            else:
                problems.append(f"{name}: accepted")
        left = rig.unsettled()
        for push_type, size_bytes, lane in (("alert", 4096, Lane.ALERT), ("voip", 5120, Lane.VOIP)):
            receipt = _send(rig, push_type, device, size_bytes)
            sender.write(receipt.apns_id, lane, device)
            rig.start_worker(lane)
        found = settled(rig, refused=len(wrong) - len(problems), delivered_to_the_byte=2)
        return found.but(*problems, *unless(not left, f"{len(left)} keys were left behind"))


def _send(rig: Rig, push_type: str, device: str, size_bytes: int, *, app: str = APP) -> Receipt:
    """Send a payload of exactly so many bytes."""
    least: dict[str, Any] = {"aps": _APS[push_type], "x": ""}
    padding = "x" * (size_bytes - len(json.dumps(least, separators=(",", ":"))))
    return rig.push.send(
        Notification(
            app=app,
            push_type=push_type,
            device_token=device,
            payload={**least, "x": padding},
            report=Report.EVERYTHING,
        )
    )


def _asked_again(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT, Lane.BACKGROUND]) as rig:
        sender, devices, problems = rig.sender(), map(device_token, count()), list[str]()
        for lane, call in ((Lane.ALERT, rig.push.alert), (Lane.BACKGROUND, rig.push.background)):
            for number, manner in enumerate((_one_by_one, _together)):
                device = next(devices)
                options: dict[str, Any] = {"idempotency_key": f"{lane}-{number}", "report": Report.EVERYTHING}
                again = partial(call, APP, device, **options, **_CONTENT[lane])
                other = partial(call, APP, device_token(99), **options, **_CONTENT[lane])
                receipts = manner(again)
                sender.write(receipts[0].apns_id, lane, device, **_CONTENT[lane].get("data", {}))
                problems += unless(len({each.apns_id for each in receipts}) == 1, "several apns ids for one key")
                news = sum(not each.repeated for each in receipts)
                problems += unless(news == 1, f"{news} of {TIMES} calls with one key were taken as new")
                problems += unless(_is_conflict(other), "another content under the same key was accepted")
        found = settled(rig).with_facts(calls=4 * TIMES, arrived=rig.arrivals())
        return found.but(*problems, *unless(rig.arrivals() == 4, f"{rig.arrivals()} pushes of 4"))


_CONTENT: Final[dict[Lane, dict[str, Any]]] = {
    Lane.ALERT: {"title": "Hello"},
    Lane.BACKGROUND: {"data": {"version": 1}},
}


def _one_by_one(call: Callable[[], Receipt]) -> list[Receipt]:
    return [call() for _ in range(TIMES)]


def _together(call: Callable[[], Receipt]) -> list[Receipt]:
    with ThreadPoolExecutor(TIMES) as threads:
        return [future.result() for future in [threads.submit(call) for _ in range(TIMES)]]


def _is_conflict(call: Callable[[], Receipt]) -> bool:
    try:
        call()
    except ConflictError:
        return True
    return False


def _calls_too_late(directory: Path) -> Findings:
    with Rig(directory, lanes=[]) as rig:
        sender = rig.sender()
        for _ in range(CALLS):
            sender.call()
        rig.advance(CALL_S + 1)
        rig.start_worker(Lane.VOIP)
        found = settled(rig).with_facts(arrived=rig.arrivals())
        outcomes = rig.account().outcomes
        return found.with_facts(expired=outcomes[Outcome.EXPIRED]).but(
            *unless(rig.arrivals() == 0, f"{rig.arrivals()} calls left too late"),
            *unless(outcomes == {Outcome.EXPIRED: CALLS}, f"ended {dict(outcomes)}"),
        )


def _newest_wins(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.BACKGROUND] * 4) as rig:
        sender, devices = rig.sender(), [device_token(DEVICES + number) for number in range(UPDATED)]
        rig.apns.simulator.switches.latency_s = ANSWER_AFTER_S
        for version in range(1, VERSIONS + 1):
            for device in devices:
                sender.update_of(device, version)
            if version in KILLED_AFTER:
                rig.kill(rig.pick())
            rig.wait(0.1)
        found = settled(rig, kills=len(KILLED_AFTER))
        outcomes = rig.account().outcomes
        return found.with_facts(pushes=rig.arrivals(), superseded=outcomes[Outcome.SUPERSEDED]).but(
            *unless(set(outcomes) == {Outcome.DELIVERED, Outcome.SUPERSEDED}, f"ended {dict(outcomes)}"),
        )


ROWS: Final = (
    Row(
        number="P1",
        fault=f"among {AROUND} others one notification that kills its worker and one that makes it fail",
        limit=f"dead letters after {MAX_CRASHES} deaths and 6 tries, the others delivered, replaying delivers",
        run=_poison,
        otherwise="Celery: for ever",
    ),
    Row(
        number="P3",
        fault="too large by a byte, wrong device token, app not configured",
        limit="refused at the call, naming the field; nothing is stored; the largest allowed are delivered",
        run=_refused_at_the_call,
    ),
    Row(
        number="P4",
        fault=f"the same call {TIMES} times with one idempotency key, one by one and together; then another content",
        limit="one push each, one apns id; ConflictError",
        run=_asked_again,
        is_quick=True,
    ),
    Row(
        number="P5",
        fault=f"{CALLS} calls while no worker runs until they have rung out",
        limit="none is sent, each is reported expired",
        run=_calls_too_late,
    ),
    Row(
        number="P6",
        fault=f"{UPDATED} devices, {VERSIONS} updates each, slow answers, {len(KILLED_AFTER)} kills",
        limit="each device gets its updates in order and the newest last",
        run=_newest_wins,
    ),
)
