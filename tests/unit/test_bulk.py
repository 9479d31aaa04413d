"""A bulk call keeps count of everything, and remembers only what is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.bulk import MAX_REFUSALS, Tally
from dispatcher.notification import BatchReceipt, BulkReceipt, Refusal
from dispatcher.push_types import Lane


def test_an_empty_call_is_empty() -> None:
    """Without device tokens nothing was accepted, refused or replaced."""
    tally = Tally(Lane.ALERT)
    assert list(tally.checked([])) == []
    assert tally.receipt() == BulkReceipt(lane=Lane.ALERT, accepted=0, refused=0, refusals=(), batches=(), replaced=0)


def test_batches_add_up() -> None:
    """Batches are kept in order, and their counts summed."""
    tally = Tally(Lane.BACKGROUND)
    batches = tuple(BatchReceipt(batch_id=f"id-{count}", count=count, queued=count < 3) for count in (1, 2, 3))
    for replaced, batch in enumerate(batches):
        tally.add(batch, replaced=replaced, repeated=1)
    receipt = tally.receipt()
    assert (receipt.lane, receipt.batches) == (Lane.BACKGROUND, batches)
    assert (receipt.accepted, receipt.replaced, receipt.repeated) == (6, 3, 3)


def test_valid_device_tokens_pass_in_lower_case() -> None:
    """What is valid goes on in order and in lower case; what is not is noted with its place."""
    tally = Tally(Lane.ALERT)
    assert list(tally.checked(["AB", "x", "cD", ""])) == ["ab", "cd"]
    receipt = tally.receipt()
    assert [refusal.position for refusal in receipt.refusals] == [1, 3]
    assert isinstance(receipt.refusals[0], Refusal)
    assert (receipt.refusals[0].field, "hex" in receipt.refusals[0].rule) == ("device_token", True)


def test_a_generator_is_read_no_further_than_needed() -> None:
    """Device tokens are drawn one at a time: nothing is read ahead."""
    drawn = []

    def draw() -> object:
        for number in range(10):
            drawn.append(number)
            yield "ab"

    checked = Tally(Lane.ALERT).checked(draw())  # type: ignore[arg-type]
    next(checked)
    next(checked)
    assert drawn == [0, 1]


def test_refusals_beyond_the_limit_are_only_counted() -> None:
    """The first thousand refusals are kept, all are counted."""
    tally = Tally(Lane.ALERT)
    assert list(tally.checked("z" for _ in range(MAX_REFUSALS + 1))) == []
    receipt = tally.receipt()
    assert (receipt.refused, len(receipt.refusals)) == (MAX_REFUSALS + 1, MAX_REFUSALS)
    assert receipt.refusals[-1].position == MAX_REFUSALS - 1


@given(st.lists(st.sampled_from(["ab", "AB", "z", "", "abc"]) | st.integers() | st.none()))
def test_every_device_token_is_accepted_or_refused(device_tokens: list[str]) -> None:
    """Whatever is in the iterable, each element is counted once."""
    tally = Tally(Lane.ALERT)
    valid = list(tally.checked(device_tokens))
    assert len(valid) + tally.receipt().refused == len(device_tokens)
