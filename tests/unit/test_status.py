"""How a tracked notification ended is kept and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cancellation import Cancellation
from dispatcher.feedback import Outcome
from dispatcher.lookup import most_telling
from dispatcher.status import State, Status, decode_end, encode_end


@given(
    outcome=st.sampled_from(Outcome),
    status=st.integers(0, 599),
    reason=st.text(),
    attempts=st.integers(0, 99),
    unregistered_at=st.integers(0, 2**53),
)
def test_round_trip(outcome: Outcome, status: int, reason: str, attempts: int, unregistered_at: int) -> None:
    """Whatever an end says is what the app is told, with the time the state server wrote before it."""
    kept = encode_end(outcome=outcome, status=status, reason=reason, attempts=attempts, unregistered_at=unregistered_at)
    assert decode_end("the-apns-id", f"1800000000.250000 {kept}") == Status(
        apns_id="the-apns-id",
        state=State.ENDED,
        attempts=attempts,
        outcome=outcome,
        status=status,
        reason=reason,
        unregistered_at=unregistered_at,
        ended_at=1_800_000_000.25,
    )


@pytest.mark.parametrize("known", Cancellation)
def test_what_is_known_somewhere_counts(known: Cancellation) -> None:
    """A place that knows nothing does not change what another knows; the one that held it has the last word."""
    nowhere = [Cancellation.UNKNOWN] * 3
    assert most_telling([*nowhere, known, *nowhere]) is known
    assert most_telling([Cancellation.ENDED, Cancellation.CANCELLED]) is Cancellation.CANCELLED
    assert most_telling([Cancellation.ENDED, Cancellation.BEING_SENT]) is Cancellation.BEING_SENT
