"""Values of the slots: which terms a record has, what a script is given."""

from __future__ import annotations

import pytest

from dispatcher.notes import HISTORY_LENGTH, Ends, with_try
from dispatcher.push_types import PUSH_TYPES, Environment, Lane
from dispatcher.record import Record
from dispatcher.slot_values import SlotReturn, SlotTerms, sent_at, terms_of


def make_record(push_type: str) -> Record:
    """Return a record with every term."""
    return Record(
        app="com.example.app",
        environment=Environment.PRODUCTION,
        push_type=push_type,
        device_tokens=("ab",),
        payload=b"{}",
        priority=5,
        expiration=2_000_000_000,
        expires_in=60.0,
        send_at=1_900_000_000.5,
        version=7,
    )


@pytest.mark.parametrize("push_type", [name for name, row in PUSH_TYPES.items() if row.lane is Lane.BACKGROUND])
def test_only_what_apple_counts_is_spaced(push_type: str) -> None:
    """Of the push types that go through slots background alone is spaced; the other terms are the record's."""
    terms = terms_of(make_record(push_type), spacing_s=1200.0, hold_for=5.0)
    assert terms == SlotTerms(
        spacing_s=1200.0 if push_type == "background" else 0.0,
        hold_for=5.0,
        send_at=1_900_000_000.5,
        expires_in=60.0,
        expiration=2_000_000_000,
        version=7,
    )


def test_absent_terms_are_empty() -> None:
    """The script gets an empty text for each term that is not there: version zero is one, expiration zero is none."""
    assert SlotTerms().as_args() == (0.0, 0.0, "", "", "", "")
    assert SlotTerms(expiration=0, version=0).as_args() == (0.0, 0.0, "", "", "", 0)


@pytest.mark.parametrize(
    ("delay_s", "is_parked", "has_ended"), [(None, False, True), (0.0, False, False), (None, True, False)]
)
def test_a_return_has_ended_or_goes_on(delay_s: float | None, is_parked: bool, has_ended: bool) -> None:  # noqa: FBT001
    """Only what has neither a delay nor a parking place has ended."""
    item = SlotReturn(
        device="d", apns_id="a", ends=Ends(), counts=False, delay_s=delay_s, is_parked=is_parked
    ).as_json()
    assert (item["has_ended"], item["delay"]) == (has_ended, 0)


def test_a_history_keeps_the_last_tries() -> None:
    """Tries are listed in order, the oldest are dropped, and no reason looks like two."""
    history = ""
    for number in range(HISTORY_LENGTH + 2):
        history = with_try(history, number + 0.4, f"Reason; {number}")
    assert history.split("; ") == [f"{number} Reason, {number}" for number in range(2, HISTORY_LENGTH + 2)]


def test_when_a_device_got_something_last() -> None:
    """The time of the last send is its first word; a device that only has to wait got nothing."""
    assert sent_at(b"1800000000.500000 an-id 7 -") == 1_800_000_000.5
    assert sent_at(b"- - - 1800000000.500000") == sent_at(None) == 0.0
