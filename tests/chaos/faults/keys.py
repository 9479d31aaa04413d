"""K1 to K3, H1: signing keys that are changed, revoked or wrong, and a provider token that everybody needs at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dispatcher import Lane, Outcome, Report
from dispatcher.dev.children import poll
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.dev.simulator.world import key_file
from tests.chaos.faults.load import steadily
from tests.chaos.ledger import ACCEPTED
from tests.chaos.rig import Rig
from tests.chaos.rows import Findings, Row, settled, unless

KEY, NEW_KEY = "KEYLEGACY0", "KEYTEAMPRO"
#: Of another team, under another key.
OTHERS_APP: Final = "com.example.third"
RATE: Final = 60.0
TAKEN_UP_WITHIN_S: Final = 8.0
#: What may leave under a revoked key beside probes: what was in flight, per process.
MOST_REFUSED: Final = 60
PROCESSES: Final = 100
#: What each needs of a processor; how long it waits for one is the machine's affair.
WORK_S: Final = 0.05


def _another_key(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT, Lane.ALERT]) as rig:
        sender, config = rig.sender(), rig.worker_config
        new_file = config.with_name(key_file(NEW_KEY))
        pem = new_file.read_bytes()
        new_file.unlink()
        table = f'[keys.{NEW_KEY}]\nteam_id = "TEAMAAAAAA"\nfile = "{new_file.name}"\n'
        text = config.read_text(encoding="utf-8")
        _write(config, text.replace(table, ""))
        steadily(rig, sender.alert, rate=RATE, seconds=4)
        new_file.touch(mode=0o600)
        new_file.write_bytes(pem)
        _write(config, text.replace(f'key = "{KEY}"', f'key = "{NEW_KEY}"'))
        changed_at = time.time()
        steadily(rig, sender.alert, rate=RATE, seconds=TAKEN_UP_WITHIN_S)
        found = settled(rig)
        requests = list(rig.arrived())
        refused = sum(request.status != ACCEPTED for request in requests)
        first_s = min((each.at for each in requests if each.key_id == NEW_KEY), default=changed_at) - changed_at
        last_s = max(each.at for each in requests if each.key_id == KEY) - changed_at
        new = {request.provider_token for request in requests if request.key_id == NEW_KEY}
        facts = {"first under the new key": f"{first_s:.1f} s", "last under the old": f"{last_s:.1f} s"}
        return found.with_facts(**facts).but(
            *unless(len(new) == 1, f"{len(new)} provider tokens of the new key"),
            *unless(first_s > 0 and last_s < TAKEN_UP_WITHIN_S - 1, "not taken up in time"),
            *unless(not refused, f"{refused} refused"),
            *unless(found.duplicated == 0, f"{found.duplicated} repeated"),
        )


def _write(config: Path, text: str) -> None:
    """Replace a file at once, as a careful operator does."""
    new = config.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(config)


def _revoked_key(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT, Lane.ALERT]) as rig:
        sender = rig.sender()
        steadily(rig, sender.bulk, rate=RATE, seconds=2)
        rig.apns.call(rig.apns.simulator.world.revoke, KEY)
        steadily(rig, sender.alert, rate=RATE / 2, seconds=3)
        others_s = _send_for_others(rig)
        steadily(rig, sender.alert, rate=RATE / 2, seconds=3)
        refused = sum(request.status == 403 for request in rig.arrived())
        alarms = len(rig.told("apns_paused"))
        rig.apns.call(rig.apns.simulator.world.revoked.clear)
        ended = time.monotonic()
        rig.drain(within_s=60)
        back_s = time.monotonic() - ended
        found = settled(
            rig, refused=refused, alarms=alarms, others_within=f"{others_s:.2f} s", done_after=f"{back_s:.1f} s"
        )
        outcomes = rig.account().outcomes
        return found.but(
            *unless(0 < refused <= MOST_REFUSED, f"{refused} requests under a revoked key"),
            *unless(alarms == 1, f"{alarms} alarms in 6 s"),
            *unless(others_s <= 2, f"others came {others_s:.1f} s late"),
            *unless(set(outcomes) == {Outcome.DELIVERED}, f"ended {dict(outcomes)}"),
        )


def _send_for_others(rig: Rig) -> float:
    """Send a push under another key; return how long it took to be taken, in seconds."""
    sender, device, begun = rig.sender(), device_token(7), time.monotonic()
    receipt = rig.push.alert(OTHERS_APP, device, title="Hello", report=Report.EVERYTHING)
    sender.write(receipt.apns_id, Lane.ALERT, device)
    poll(lambda: any(each.apns_id == receipt.apns_id for each in rig.arrived()), within_s=10)
    return time.monotonic() - begun


def _pem(curve: ec.EllipticCurve, form: serialization.PrivateFormat) -> bytes:
    private_key = ec.generate_private_key(curve)
    return private_key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _missing(file: Path) -> None:
    file.unlink()


def _open_to_others(file: Path) -> None:
    file.chmod(0o666)


def _not_pkcs8(file: Path) -> None:
    file.write_bytes(_pem(ec.SECP256R1(), serialization.PrivateFormat.TraditionalOpenSSL))


def _wrong_curve(file: Path) -> None:
    file.write_bytes(_pem(ec.SECP384R1(), serialization.PrivateFormat.PKCS8))


def _another_ones(file: Path) -> None:
    config = file.with_name("workers.toml")
    text = config.read_text(encoding="utf-8").replace(file.name, key_file(NEW_KEY), 1)
    config.write_text(text, encoding="utf-8")


def _damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


#: What is wrong with the file -> how it comes about, and what the one line says that mends it.
BAD_FILES: Final[dict[str, tuple[Callable[[Path], None], str]]] = {
    "missing": (_missing, "copy the .p8 from Apple there"),
    "open to others": (_open_to_others, "chmod 600"),
    "not PKCS#8": (_not_pkcs8, "Apple's .p8 begins with"),
    "wrong curve": (_wrong_curve, "use the .p8 that Apple made for APNs"),
    "another key's": (_another_ones, f"write [keys.{NEW_KEY}]"),
    "damaged": (_damaged, "download the .p8 again"),
}


def _refused_at_the_start(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        problems: list[str] = []
        codes: set[int | None] = set()
        for name, (spoil, mend) in BAD_FILES.items():
            code, told = _start_with(rig, re.sub(r"\W+", "-", name), spoil)
            codes.add(code)
            problems += unless(code, f"{name}: exit code {code}")
            problems += unless(len(told) == 1 and mend in told[0], f"{name}: {len(told)} lines name the key")
        sender = rig.sender()
        sender.alert()
        found = settled(rig, files=len(BAD_FILES), exit_codes=", ".join(sorted(map(str, codes))))
        return found.but(*problems)


def _start_with(rig: Rig, name: str, spoil: Callable[[Path], None]) -> tuple[int | None, list[str]]:
    """Start a worker whose key file is bad; return its exit code and the lines that name the key."""
    place = rig.directory / name
    place.mkdir()
    config = rig.worker_config
    for file in config.parent.iterdir():
        if file.suffix in {".p8", ".pem", ".toml"}:
            copy = place / file.name
            copy.touch(mode=0o600)
            copy.write_bytes(file.read_bytes())
    spoil(place / key_file(KEY))
    worker = rig.start_worker(Lane.ALERT, env={"APNS_CONFIG": str(place / config.name)})
    rig.wait_for_end(worker)
    rig.incidents.pop()  # it never sent anything
    lines = worker.last_lines(100)
    return worker.exit_code, [line for line in lines if f"[keys.{KEY}]" in line]


def _all_at_once(directory: Path) -> Findings:
    with Rig(directory, lanes=[Lane.ALERT]) as rig:
        child = rig.start_program("deriving", ["-m", "tests.chaos.deriving", str(PROCESSES)])
        assert poll(lambda: not child.is_running, within_s=60), child.last_lines(20)
        assert child.exit_code == 0, child.last_lines(20)
        result = json.loads(child.last_lines(1)[0])
        sender = rig.sender()
        sender.alert()
        found = settled(rig, different=len(result["made"]))
        seen = {request.provider_token for request in rig.arrived()}
        facts = {name: f"{result[f'{name}_s'] * 1000:.1f} ms" for name in ("p50", "p99", "worked")}
        return found.with_facts(**facts).but(
            *unless(len(result["made"]) == 1, f"{len(result['made'])} different provider tokens"),
            *unless(seen == set(result["made"]), "the fleet uses another one"),
            *unless(result["worked_s"] <= WORK_S, f"each took {facts['worked']} of a processor"),
        )


ROWS: Final = (
    Row(
        number="K1",
        fault="the app gets another signing key under load: a new file and a changed apns.toml, no restart",
        limit=f"lost 0, repeated 0, nothing refused, one provider token of the new key, within {TAKEN_UP_WITHIN_S:g} s",
        run=_another_key,
    ),
    Row(
        number="K2",
        fault="Apple revokes a signing key for 6 s",
        limit="lost 0, few requests under it, one alarm a minute, other keys unharmed, then all delivered by itself",
        run=_revoked_key,
    ),
    Row(
        number="K3",
        fault=f"a signing key's file is {', '.join(BAD_FILES)}",
        limit="the worker does not start, and says in one line how to mend it",
        run=_refused_at_the_start,
    ),
    Row(
        number="H1",
        fault=f"{PROCESSES} processes at one barrier need the provider token",
        limit=f"all derive the same, the one the fleet uses, in {WORK_S * 1000:.0f} ms of a processor each",
        run=_all_at_once,
        is_quick=True,
    ),
)
