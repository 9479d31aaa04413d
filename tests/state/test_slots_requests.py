"""What an app and an operator ask of slots: release, cancel, tell, park; and what a crash leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher import outbox, redis_keys
from dispatcher.cancellation import Cancellation
from dispatcher.outbox import Acceptance
from dispatcher.slot_values import DeviceOnline, Released
from tests.state.slot_words import APP, DEVICE, LEASE_S, SHARD, SPACING_S, WAKE_UP, Slots

FETCHED = "the app fetched it itself"


def is_told(words: Slots) -> bool:
    """Tell whether the words' notifications ask for everything to be told."""
    return b'"report":"everything"' in words.stored


def told(words: Slots) -> list[tuple[str, str, str]]:
    """Return outcome, apns id and reason of all feedback."""
    return [(one.outcome.value, one.apns_id, one.reason) for one in words.state.feedback()]


def hold_one(words: Slots) -> None:
    """Let the device's budget hold notification b."""
    words.put_spaced("a")
    words.deliver("a")
    words.put_spaced("b")
    assert words.claim() == ()


def test_a_launch_releases_what_is_held(slot_words: Slots) -> None:
    """When the app is launched the held notification, or a newer one that came before it was taken, is due at once."""
    hold_one(slot_words)
    assert slot_words.online() == DeviceOnline(released=Released.RELEASED, wake_up=True)
    slot_words.put_spaced("c")
    slot_words.deliver("c")
    slot_words.put_spaced("d")
    assert slot_words.claim() == (), "the launch was for what was held then"


def test_a_launch_ends_gathering_but_not_a_schedule(slot_words: Slots) -> None:
    """Gathering is waived by a launch, `send_at` is not."""
    slot_words.put("a", hold_for=600.0)
    slot_words.online()
    slot_words.deliver("a")
    slot_words.put("b", send_at=float(slot_words.state.run(outbox.time())) + 600)
    assert slot_words.online() == DeviceOnline(released=Released.RELEASED, wake_up=False)
    assert slot_words.claim() == ()


def test_a_launch_drops_what_the_app_has(slot_words: Slots) -> None:
    """If the app has fetched the news itself, what is held ends as superseded."""
    hold_one(slot_words)
    assert slot_words.online(fetched=True).released is Released.DROPPED
    assert slot_words.left() == set()
    assert slot_words.count("superseded") == 1
    assert told(slot_words) == [("superseded", "b", FETCHED)] * is_told(slot_words)
    assert slot_words.online(fetched=True).released is Released.NOTHING


def test_a_launch_while_sending(slot_words: Slots) -> None:
    """What is being sent goes on; a newer one behind it is released when it is back."""
    slot_words.put_spaced("a")
    slot_words.claim()
    assert slot_words.online().released is Released.NOTHING
    slot_words.put_spaced("b")
    assert slot_words.online() == DeviceOnline(released=Released.RELEASED, wake_up=False)
    slot_words.give_back("a")
    assert slot_words.claim_ids("two") == ["b"]
    slot_words.put_spaced("c")
    slot_words.give_back("b", "two")
    assert slot_words.claim() == (), "the launch was not for what came after"


@pytest.mark.parametrize("delay_s", [None, 0.0])
def test_fetched_while_sending(slot_words: Slots, delay_s: float | None) -> None:
    """What the app has fetched is dropped even behind a send, and what is being sent is not tried again."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.put("b")
    assert slot_words.online(fetched=True).released is Released.DROPPED
    assert slot_words.online(fetched=True).released is Released.NOTHING
    slot_words.give_back("a", delay_s=delay_s)
    assert slot_words.left() == set()
    assert (slot_words.count("delivered"), slot_words.count("superseded")) == ((1, 1) if delay_s is None else (0, 2))


def test_cancel_in_time(slot_words: Slots) -> None:
    """A waiting notification that is cancelled never leaves, is always told, and is known to have ended."""
    hold_one(slot_words)
    assert slot_words.cancel("b") is Cancellation.CANCELLED
    assert slot_words.left() == set()
    assert slot_words.count("cancelled") == 1
    assert told(slot_words) == [("cancelled", "b", "the app cancelled it")]
    assert slot_words.cancel("b") is Cancellation.ENDED
    assert slot_words.cancel("a") is Cancellation.ENDED
    assert slot_words.cancel("never") is Cancellation.UNKNOWN


@pytest.mark.parametrize("delay_s", [None, 0.0])
def test_cancel_while_sending(slot_words: Slots, delay_s: float | None) -> None:
    """One that is being sent ends as it does; if it should be tried again it ends as cancelled."""
    slot_words.put("a")
    slot_words.claim()
    assert slot_words.cancel("a") is Cancellation.BEING_SENT
    slot_words.give_back("a", delay_s=delay_s)
    assert slot_words.left() == set()
    assert (slot_words.count("delivered"), slot_words.count("cancelled")) == ((1, 0) if delay_s is None else (0, 1))
    assert slot_words.cancel("a") is Cancellation.ENDED


def test_cancel_under_a_dead_worker(slot_words: Slots) -> None:
    """One that is cancelled while its worker dies is not sent again; a newer one behind it is."""
    for newer in ([], ["b"]):
        slot_words.put("a")
        slot_words.claim()
        for apns_id in newer:
            slot_words.put(apns_id)
        slot_words.cancel("a")
        slot_words.state.advance(LEASE_S + 1)
        assert slot_words.claim_ids("two") == newer
    slot_words.give_back("b", "two")
    assert slot_words.count("cancelled") == 2
    assert slot_words.left() == set()


@pytest.mark.parametrize("delay_s", [None, 0.0])
def test_cancel_behind_a_send(slot_words: Slots, delay_s: float | None) -> None:
    """A newer one that is cancelled still keeps the older one from being tried again; the slot takes others."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.put("b")
    assert slot_words.cancel("b") is Cancellation.CANCELLED
    slot_words.give_back("a", delay_s=delay_s)
    assert slot_words.left() == set()
    assert (slot_words.count("superseded"), slot_words.count("cancelled")) == (0 if delay_s is None else 1, 1)
    slot_words.put("c")
    slot_words.claim()
    slot_words.put("d")
    slot_words.cancel("d")
    assert not slot_words.put("e").replaced
    slot_words.give_back("c")
    slot_words.deliver("e")


def test_how_it_ended_is_kept_when_tracked(slot_words: Slots) -> None:
    """Superseded and cancelled tracked notifications leave how they ended; others leave nothing."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.give_back("a", delay_s=0.0, attempts=2)
    slot_words.put("b")
    slot_words.cancel("b")
    ends = [slot_words.ended("a"), slot_words.ended("b")]
    if not is_told(slot_words):
        assert ends == [None, None]
        return
    assert [end and (end["outcome"], end["status"], end["attempts"]) for end in ends] == [
        ("superseded", 0, 2),
        ("cancelled", 0, 0),
    ]
    assert slot_words.cancel("a") is Cancellation.ENDED


def test_what_a_sent_one_ends_with_is_its_own(state: Any, slot_words: Slots) -> None:
    """A newer notification that wants no report does not silence the older one that does."""
    loud = Slots(state, slot_words.stored.replace(b'"report":"failures"', b'"report":"everything"'))
    quiet = Slots(state, slot_words.stored.replace(b'"report":"everything"', b'"report":"failures"'))
    loud.put("a")
    loud.claim()
    quiet.put("b")
    loud.give_back("a", delay_s=0.0)
    assert told(loud) == [("superseded", "a", "a newer one took its place")]


def test_status_follows_a_notification(slot_words: Slots) -> None:
    """Status tells how long it is held and that it is being sent, and nothing of one that has ended."""
    hold_one(slot_words)
    held = slot_words.status("b")
    assert held is not None
    assert held.allowed - held.accepted_at == pytest.approx(SPACING_S, abs=1)
    assert (held.attempts, held.is_being_sent, held.is_parked) == (0, False, False)
    slot_words.online()
    slot_words.claim()
    slot_words.put_spaced("c")
    sending, waiting = slot_words.status("b"), slot_words.status("c")
    assert sending is not None
    assert waiting is not None
    assert (sending.is_being_sent, sending.accepted_at) == (True, held.accepted_at)
    assert (waiting.is_being_sent, waiting.is_parked) == (False, False)
    slot_words.give_back("b")
    assert slot_words.status("b") is None


def test_status_counts_attempts(slot_words: Slots) -> None:
    """The tries of a notification and its next time are told."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.give_back("a", delay_s=60.0, counts=False, attempts=3)
    status = slot_words.status("a")
    assert status is not None
    assert status.attempts == 3
    assert status.allowed - status.accepted_at == pytest.approx(60, abs=1)


def test_a_parked_slot_waits_for_the_end_of_the_pause(slot_words: Slots) -> None:
    """A parked slot is nobody's until it is unparked, keeps its newest, and is then due as it was before."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.give_back("a", is_parked=True, counts=False, attempts=1)
    assert slot_words.put("b").replaced
    assert slot_words.claim() == ()
    status = slot_words.status("b")
    assert status is not None
    assert status.is_parked
    assert slot_words.unpark(before=0.0) == []
    assert slot_words.unpark() == [WAKE_UP]
    slot_words.deliver("b")
    assert slot_words.unpark() == []
    assert slot_words.left() == set()


def test_a_parked_slot_keeps_its_own_floors(slot_words: Slots) -> None:
    """Unparking does not send sooner than schedule and budget allow."""
    slot_words.put_spaced("a")
    slot_words.claim()
    slot_words.put_spaced("b")
    slot_words.give_back("a", is_parked=True, counts=True)
    assert slot_words.unpark() == []
    assert slot_words.claim() == ()
    assert slot_words.state.client.zscore(redis_keys.held(SHARD, APP), DEVICE) is not None


def test_a_parked_slot_is_looked_at_when_it_expires(slot_words: Slots) -> None:
    """Unparking what is to be looked at by now hands out only what has expired."""
    slot_words.put("a", expires_in=100.0)
    slot_words.claim()
    slot_words.give_back("a", is_parked=True, counts=False)
    now = float(slot_words.state.run(outbox.time()))
    assert slot_words.unpark(before=now) == []
    slot_words.state.advance(101)
    slot_words.unpark(before=now + 101)
    assert [slot.has_expired for slot in slot_words.claim()] == [True]


def test_a_parked_slot_can_be_cancelled(slot_words: Slots) -> None:
    """A parked notification is cancelled like any that waits."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.give_back("a", is_parked=True, counts=False)
    assert slot_words.cancel("a") is Cancellation.CANCELLED
    assert slot_words.left() == set()


def test_a_slot_whose_worker_died_comes_alone(slot_words: Slots) -> None:
    """After a crash each slot is claimed by itself, after those that did not crash, and says how often it did."""
    other = "e" * 32
    slot_words.put("a")
    slot_words.put("b", device=other)
    assert len(slot_words.claim("dead")) == 2
    slot_words.state.advance(LEASE_S + 1)
    slot_words.put("c", device="f" * 32)
    assert [(slot.apns_id, slot.crashes) for slot in slot_words.claim("two")] == [("c", 0)]
    alone = [slot_words.claim(claim_id) for claim_id in ("three", "four")]
    assert [[slot.crashes for slot in claimed] for claimed in alone] == [[1], [1]]
    assert {slot.apns_id for claimed in alone for slot in claimed} == {"a", "b"}


def test_crashes_are_one_notifications(slot_words: Slots) -> None:
    """A newer notification begins without the crashes and tries of the one it replaces."""
    slot_words.put("a")
    slot_words.claim("dead")
    slot_words.state.advance(LEASE_S + 1)
    assert [slot.crashes for slot in slot_words.claim("two")] == [1]
    slot_words.give_back("a", "two", delay_s=0.0, attempts=2, history="1 Busy")
    (slot,) = slot_words.claim("three")
    assert (slot.crashes, slot.attempts, slot.history) == (1, 2, "1 Busy")
    slot_words.give_back("a", "three", delay_s=0.0)
    slot_words.put("b")
    (slot,) = slot_words.claim("four")
    assert (slot.crashes, slot.attempts, slot.history) == (0, 0, "")


def test_an_own_id_is_known_while_a_newer_one_waits(slot_words: Slots) -> None:
    """The apns id that is being sent is repeated, not accepted again, though a newer one has come."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.put("b")
    assert slot_words.put("a").acceptance is Acceptance.REPEATED
