"""When a device gets its next background notification: the budget, gathering, retries, schedules and expiry."""

from __future__ import annotations

import pytest

from dispatcher import outbox, redis_keys
from dispatcher.outbox import Acceptance
from tests.state.slot_words import APP, DEVICE, LEASE_S, SHARD, SPACING_S, WAKE_UP, Slots

SECOND = 1.0


def now(words: Slots) -> float:
    """Return the state server's clock."""
    return float(words.state.run(outbox.time()))


def due_in(words: Slots) -> float:
    """Return in how many seconds the slot is due."""
    return float(words.state.client.zscore(redis_keys.held(SHARD, APP), DEVICE)) - now(words)


def test_the_second_within_the_spacing_is_held(slot_words: Slots) -> None:
    """The first goes at once, the next waits for the spacing; a sweep wakes a worker when it is due."""
    slot_words.put_spaced("a")
    slot_words.deliver("a")
    slot_words.put_spaced("b")
    assert not slot_words.put_spaced("c").wake_up
    assert slot_words.claim() == ()
    assert due_in(slot_words) == pytest.approx(SPACING_S, abs=1)
    slot_words.state.advance(SPACING_S - SECOND)
    assert slot_words.sweep() == []
    slot_words.state.advance(SECOND)
    assert slot_words.sweep() == [WAKE_UP]
    slot_words.deliver("c")
    assert slot_words.count("superseded") == 1


def test_a_budget_is_one_devices(slot_words: Slots) -> None:
    """What one device got does not hold up another."""
    slot_words.put_spaced("a")
    slot_words.deliver("a")
    slot_words.put_spaced("b", device="e" * 32)
    assert slot_words.claim_ids() == ["b"]


def test_without_a_limit_nothing_is_held_or_remembered(slot_words: Slots) -> None:
    """With no spacing and no version every notification goes at once, and no send is remembered."""
    for apns_id in ("a", "b"):
        slot_words.put(apns_id)
        slot_words.deliver(apns_id)
    assert not slot_words.state.client.exists(redis_keys.sent(SHARD, DEVICE))


@pytest.mark.parametrize("delay_s", [None, 0.0])
def test_what_was_turned_away_uses_no_budget(slot_words: Slots, delay_s: float | None) -> None:
    """The spacing counts from the last send that may have reached the device, not from one that certainly did not."""
    slot_words.put_spaced("a")
    slot_words.claim()
    slot_words.give_back("a", counts=False, delay_s=delay_s)
    slot_words.put_spaced("b")
    slot_words.deliver("b")


def test_what_may_have_been_sent_uses_budget(slot_words: Slots) -> None:
    """A push without an answer may be tried again at once; a newer one waits for the spacing."""
    slot_words.put_spaced("a")
    slot_words.claim()
    slot_words.state.advance(10)
    slot_words.give_back("a", counts=True, delay_s=0.0)
    assert slot_words.claim_ids("two") == ["a"]
    slot_words.give_back("a", "two", counts=False, delay_s=0.0)
    slot_words.put_spaced("b")
    assert due_in(slot_words) == pytest.approx(SPACING_S, abs=1)


def test_a_dead_worker_may_have_sent_until_its_lease_ended(slot_words: Slots) -> None:
    """After a crash the same push is due at once; one that came meanwhile counts the spacing from the lease's end."""
    slot_words.put_spaced("a")
    slot_words.claim()
    slot_words.state.advance(LEASE_S + 5)
    assert slot_words.claim_ids("two") == ["a"]
    slot_words.put_spaced("b")
    slot_words.state.advance(LEASE_S + 5)
    slot_words.sweep()
    assert due_in(slot_words) == pytest.approx(SPACING_S - 5, abs=1)


def test_the_send_is_forgotten_in_time(slot_words: Slots) -> None:
    """What is remembered of a send goes away by itself soon after the spacing, or a day after if it had a version."""
    slot_words.put_spaced("a")
    slot_words.deliver("a")
    sent = redis_keys.sent(SHARD, DEVICE)
    assert SPACING_S <= slot_words.state.client.ttl(sent) <= SPACING_S + 100
    slot_words.put("b", version=1)
    slot_words.online()
    slot_words.deliver("b")
    assert slot_words.state.client.ttl(sent) >= 24 * 3600


def test_updates_are_gathered_from_the_first(slot_words: Slots) -> None:
    """`hold_for` counts from the first update and is not prolonged; one that does not want to wait ends it."""
    assert not slot_words.put("a", hold_for=60.0).wake_up
    slot_words.state.advance(40)
    slot_words.put("b", hold_for=60.0)
    assert due_in(slot_words) == pytest.approx(20, abs=1)
    assert slot_words.put("c").wake_up
    slot_words.put("d", hold_for=60.0)
    slot_words.deliver("d")


def test_a_busy_device_keeps_its_place(slot_words: Slots) -> None:
    """A slot that is overwritten again and again is claimed before one that became due later."""
    slot_words.put("a")
    slot_words.state.advance(1)
    slot_words.put("other", device="e" * 32)
    slot_words.state.advance(1)
    slot_words.put("b")
    assert [slot.apns_id for slot in slot_words.claim(most=1)] == ["b"]


def test_a_scheduled_one_waits_for_its_time(slot_words: Slots) -> None:
    """`send_at` is a floor of the one notification: a newer one without it is due by its own terms."""
    slot_words.put("a", send_at=now(slot_words) + 500)
    assert slot_words.claim() == ()
    slot_words.state.advance(501)
    slot_words.deliver("a")
    slot_words.put("b", send_at=now(slot_words) + 500)
    slot_words.put("c", hold_for=20.0)
    assert due_in(slot_words) == pytest.approx(20, abs=1)


def test_a_newer_one_cannot_jump_a_retry(slot_words: Slots) -> None:
    """The delay after a failed try is the device's, whoever comes next and even when the first was cancelled."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.give_back("a", delay_s=60.0, counts=False)
    slot_words.cancel("a")
    slot_words.put("b")
    assert due_in(slot_words) == pytest.approx(60, abs=1)
    slot_words.online()
    assert due_in(slot_words) == pytest.approx(60, abs=1)


@pytest.mark.parametrize("terms", [{"expires_in": 300.0}, {"expiration": 300}])
def test_what_expires_while_held_is_handed_out_then(slot_words: Slots, terms: dict[str, float]) -> None:
    """A held notification that can no longer be sent comes to a worker, to be reported, and uses no budget."""
    slot_words.put_spaced("a")
    slot_words.deliver("a")
    if "expiration" in terms:
        terms = {"expiration": int(now(slot_words) + 300)}
    slot_words.put_spaced("b", **terms)
    before = slot_words.state.client.get(redis_keys.sent(SHARD, DEVICE))
    slot_words.state.advance(301)
    assert [(slot.apns_id, slot.has_expired) for slot in slot_words.claim()] == [("b", True)]
    assert slot_words.state.client.get(redis_keys.sent(SHARD, DEVICE)) == before
    slot_words.give_back("b", counts=False)
    slot_words.put_spaced("c")
    assert due_in(slot_words) == pytest.approx(SPACING_S - 301, abs=1)


def test_time_to_send_counts_from_the_schedule(slot_words: Slots) -> None:
    """`expires_in` of a scheduled notification counts from its `send_at`."""
    slot_words.put("a", send_at=now(slot_words) + 500, expires_in=10.0)
    slot_words.state.advance(505)
    assert [slot.has_expired for slot in slot_words.claim()] == [False]


def test_a_past_expiration_is_not_accepted(slot_words: Slots) -> None:
    """An expiration that is past by the state server's clock is refused; nothing is stored. Zero is no expiration."""
    assert slot_words.put("a", expiration=int(now(slot_words)), digest="aa").acceptance is Acceptance.EXPIRED
    assert slot_words.left() == set()
    assert slot_words.put("a", expiration=0, digest="aa").acceptance is Acceptance.ACCEPTED
    assert slot_words.count("accepted") == 1


def test_a_late_version_is_superseded_at_once(slot_words: Slots) -> None:
    """A version older than the waiting one, the one being sent or the last one sent ends as it comes."""
    slot_words.put("two", version=2)
    late = slot_words.put("one", version=1)
    assert (late.superseded, late.replaced, late.wake_up) == (True, False, False)
    assert slot_words.claim_ids() == ["two"]
    assert slot_words.put("also-one", version=1).superseded
    slot_words.give_back("two")
    assert slot_words.put("again-one", version=1).superseded
    assert slot_words.left() == set()
    assert not slot_words.put("two-again", version=2).superseded
    assert (slot_words.count("accepted"), slot_words.count("superseded")) == (5, 3)


def test_without_versions_arrival_decides(slot_words: Slots) -> None:
    """If one of two has no version, the one that came later is the newer; the greatest version sent is kept."""
    slot_words.put("five", version=5)
    slot_words.deliver("five")
    assert not slot_words.put("none").superseded
    slot_words.deliver("none")
    assert slot_words.put("four", version=4).superseded


def test_a_version_that_was_not_sent_is_forgotten(slot_words: Slots) -> None:
    """A version that certainly did not reach the device does not stop an older one."""
    slot_words.put("one", version=1)
    slot_words.deliver("one")
    slot_words.put("nine", version=9)
    slot_words.claim()
    slot_words.give_back("nine", counts=False)
    assert not slot_words.put("five", version=5).superseded


def test_great_versions_are_compared_exactly(slot_words: Slots) -> None:
    """Versions beyond 2**53, as nanoseconds are, keep their order."""
    great = 10**18
    slot_words.put("new", version=great + 1)
    assert slot_words.put("old", version=great).superseded
    assert slot_words.put("short", version=10**17).superseded
    assert not slot_words.put("newer", version=great + 2).superseded
    assert not slot_words.put("longer", version=10**19).superseded
