"""The ledger: three records that agree make a complete account, and every disagreement is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from dispatcher import Environment, Feedback, Outcome
from dispatcher.dev.demo import ledger
from dispatcher.dev.demo.ledger import Account, Received, Sent
from dispatcher.push_types import Lane

FIRST, SECOND = "first", "second"
DEVICE_TOKEN: Final = "ab" * 16 + "cd" * 16
SENT: Final = Sent(
    apns_id="one", lane=Lane.ALERT, device_token=DEVICE_TOKEN, at=100.0, outcomes=frozenset({Outcome.DELIVERED})
)
RECEIVED: Final = Received(
    apns_id="one", device_token=DEVICE_TOKEN, at=100.5, status=200, reason="", provider_token=FIRST
)
ENDED: Final = Feedback(
    outcome=Outcome.DELIVERED,
    apns_id="one",
    app="com.example.app",
    environment=Environment.PRODUCTION,
    push_type="alert",
    device_token=DEVICE_TOKEN,
)
GONE: Final = replace(SENT, outcomes=frozenset({Outcome.UNREGISTERED}))
GONE_RECEIVED: Final = replace(RECEIVED, status=410, reason="Unregistered")
GONE_ENDED: Final = replace(ENDED, outcome=Outcome.UNREGISTERED, reason="Unregistered", status=410)
EXPIRED: Final = replace(SENT, outcomes=frozenset({Outcome.EXPIRED}))
EXPIRED_ENDED: Final = replace(ENDED, outcome=Outcome.EXPIRED)
BUSY_RECEIVED: Final = replace(RECEIVED, status=503, reason="ServiceUnavailable")
REPLAYED: Final = replace(SENT, outcomes=frozenset({Outcome.DEAD_LETTERED}), replayed_outcome=Outcome.DELIVERED)
DEAD_ENDED: Final = replace(ENDED, outcome=Outcome.DEAD_LETTERED, reason="ServiceUnavailable", status=503)


def balance(sent: list[Sent], received: list[Received], ended: list[Feedback]) -> Account:
    """Return the account of some records, with nothing refused at the call."""
    return ledger.balance(sent, received, ended, refused_at_call={})


@pytest.mark.parametrize(
    ("sent", "received", "ended"),
    [
        ([], [], []),
        ([SENT], [RECEIVED], [ENDED]),
        ([SENT], [RECEIVED, RECEIVED], [ENDED]),
        ([SENT], [replace(RECEIVED, status=503, reason="ServiceUnavailable"), RECEIVED], [ENDED]),
        ([GONE], [GONE_RECEIVED], [GONE_ENDED]),
        ([EXPIRED], [], [EXPIRED_ENDED]),
        ([REPLAYED], [BUSY_RECEIVED, RECEIVED], [DEAD_ENDED, ENDED]),
    ],
)
def test_records_that_agree_are_complete(sent: list[Sent], received: list[Received], ended: list[Feedback]) -> None:
    """Arrived once or again, after a retry, refused, or never sent: all are accounted for."""
    assert balance(sent, received, ended).faults == ()


@pytest.mark.parametrize(
    ("sent", "received", "ended", "fault"),
    [
        ([SENT], [RECEIVED], [], "reported 0 times instead of once (never)"),
        ([SENT], [RECEIVED], [ENDED, ENDED], "reported 2 times instead of once (delivered, delivered)"),
        ([SENT], [], [ENDED], "reported delivered, but APNs accepted it 0 times"),
        ([EXPIRED], [RECEIVED], [EXPIRED_ENDED], "reported expired, but APNs accepted it 1 times"),
        ([SENT], [], [EXPIRED_ENDED], "ended expired instead of delivered"),
        ([SENT], [replace(RECEIVED, device_token="ef" * 32)], [ENDED], "went to another device"),
        ([GONE], [], [GONE_ENDED], "reported Unregistered, but APNs said nothing"),
        ([GONE], [GONE_RECEIVED], [replace(GONE_ENDED, reason="ExpiredToken")], "but APNs said Unregistered"),
        ([REPLAYED], [BUSY_RECEIVED], [DEAD_ENDED], "reported 1 times instead of twice (dead_lettered)"),
        ([REPLAYED], [BUSY_RECEIVED], [DEAD_ENDED, DEAD_ENDED], "ended dead_lettered instead of delivered"),
        ([REPLAYED], [RECEIVED, RECEIVED], [ENDED, ENDED], "ended delivered instead of dead_lettered"),
        ([], [RECEIVED], [], "one: received, but never sent"),
        ([], [], [ENDED], "one: reported, but never sent"),
    ],
)
def test_disagreement_is_found(sent: list[Sent], received: list[Received], ended: list[Feedback], fault: str) -> None:
    """Each way in which one record contradicts another is one fault, with what was expected."""
    account = balance(sent, received, ended)
    assert not account.is_complete
    assert [fault in found for found in account.faults] == [True]


def test_fault_masks_the_device_token() -> None:
    """A fault names lane and apns id, and shows of the device token only its ends."""
    (fault,) = balance([SENT], [], []).faults
    assert fault.startswith("alert one to abab...cdcd: ")
    assert DEVICE_TOKEN not in fault


def make_update(version: int, outcome: Outcome, at: float) -> tuple[Sent, list[Received], Feedback]:
    """Return a background update of a version in all three records."""
    name = f"version {version}"
    either = frozenset({Outcome.DELIVERED, Outcome.SUPERSEDED})
    sent = replace(SENT, apns_id=name, lane=Lane.BACKGROUND, outcomes=either, version=version)
    arrived = [replace(RECEIVED, apns_id=name, version=version, at=at)] if outcome is Outcome.DELIVERED else []
    return sent, arrived, replace(ENDED, apns_id=name, outcome=outcome)


@pytest.mark.parametrize(
    ("outcomes", "arrivals", "fault"),
    [
        ((Outcome.DELIVERED, Outcome.SUPERSEDED, Outcome.DELIVERED), (101.0, 0.0, 103.0), None),
        ((Outcome.DELIVERED, Outcome.DELIVERED, Outcome.DELIVERED), (101.0, 103.0, 102.0), "the device got 2"),
        ((Outcome.DELIVERED, Outcome.DELIVERED, Outcome.SUPERSEDED), (101.0, 102.0, 0.0), "the device got 2"),
        ((Outcome.SUPERSEDED, Outcome.SUPERSEDED, Outcome.SUPERSEDED), (0.0, 0.0, 0.0), "the device got None"),
    ],
)
def test_newest_update_must_come_last(
    outcomes: tuple[Outcome, ...], arrivals: tuple[float, ...], fault: str | None
) -> None:
    """Whatever is superseded on the way, the last update a device gets is the newest that was sent."""
    updates = [
        make_update(version, outcome, at)
        for version, (outcome, at) in enumerate(zip(outcomes, arrivals, strict=True), start=1)
    ]
    account = balance(
        [sent for sent, _, _ in updates],
        [request for _, arrived, _ in updates for request in arrived],
        [ended for _, _, ended in updates],
    )
    assert [found for found in account.faults if fault is None or fault not in found] == []
    assert account.is_complete == (fault is None)


def test_lane_is_counted() -> None:
    """Retries, duplicates, provider tokens, reasons and refusals at the call are counted for their lane alone."""
    second = replace(SENT, apns_id="two", outcomes=frozenset({Outcome.UNREGISTERED}))
    received = [
        replace(RECEIVED, status=429, reason="TooManyRequests"),
        replace(RECEIVED, at=101.0, provider_token=SECOND),
        replace(RECEIVED, at=102.0, provider_token=SECOND),
        replace(GONE_RECEIVED, apns_id="two"),
    ]
    ended = [ENDED, replace(GONE_ENDED, apns_id="two")]
    account = ledger.balance([SENT, second], received, ended, refused_at_call={Lane.ALERT: 3})
    alert = account.lanes[Lane.ALERT]
    assert (alert.accepted, alert.refused_at_call, alert.retried, alert.duplicates, alert.provider_tokens) == (
        2,
        3,
        1,
        1,
        2,
    )
    assert alert.outcomes == {Outcome.DELIVERED: 1, Outcome.UNREGISTERED: 1}
    assert alert.reasons == {"Unregistered": 1}
    assert account.lanes[Lane.VOIP].accepted == 0


def test_waiting_and_replay_are_counted() -> None:
    """What was held, what was replayed and how many updates became one push are told by lane; a last end counts."""
    updates = [make_update(1, Outcome.SUPERSEDED, 0.0), make_update(2, Outcome.DELIVERED, 102.0)]
    account = ledger.balance(
        [REPLAYED, *(sent for sent, _, _ in updates)],
        [BUSY_RECEIVED, RECEIVED, *(request for _, arrived, _ in updates for request in arrived)],
        [DEAD_ENDED, ENDED, *(ended for _, _, ended in updates)],
        refused_at_call={},
        held={"version 2"},
    )
    assert account.is_complete
    alert, background = account.lanes[Lane.ALERT], account.lanes[Lane.BACKGROUND]
    assert (alert.replayed, alert.held, alert.arrived, alert.collapse_ratio) == (1, 0, 1, None)
    assert alert.outcomes == {Outcome.DELIVERED: 1}
    assert (background.replayed, background.held, background.arrived, background.collapse_ratio) == (0, 1, 1, 2.0)


@pytest.mark.parametrize(("percent", "latency_s"), [(50, 50.0), (99, 99.0), (99.5, 100.0), (100, 100.0), (1, 1.0)])
def test_percentile_is_one_of_the_measured(percent: float, latency_s: float) -> None:
    """The nearest rank is taken: so many percent are not slower."""
    sent = [replace(SENT, apns_id=str(number)) for number in range(1, 101)]
    received = [replace(RECEIVED, apns_id=str(number), at=100.0 + number) for number in range(100, 0, -1)]
    lane = balance(sent, received, []).lanes[Lane.ALERT]
    assert lane.percentile(percent) == latency_s


def test_percentile_of_nothing_is_unknown() -> None:
    """A lane in which nothing arrived has no latency."""
    assert balance([], [], []).lanes[Lane.VOIP].percentile(50) is None
