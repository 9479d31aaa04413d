"""What a full or careless server is spared, and what workers may write there all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from dispatcher import Backpressure, EnqueueError, UnsafeServerError, ids, outbox, slots
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.guard import Guard
from dispatcher.notes import Ends, Notes
from dispatcher.outbox import Times
from dispatcher.push_types import Lane
from dispatcher.slot_values import SlotReturn, SlotTerms
from dispatcher.state_call import StateCall
from tests.state.conftest import APP, QUEUE, StateUnderTest

#: None of the keys that a call with this guard would write is there before.
PUTS: Final[dict[str, Callable[[str, Guard], StateCall[Any]]]] = {
    "put": lambda new_id, guard: outbox.put(
        new_id, b"", app=APP, lane=Lane.ALERT, queue=QUEUE, count=1, digest="aa", guard=guard
    ),
    "put without digest": lambda new_id, guard: outbox.put(
        new_id, b"", app=APP, lane=Lane.ALERT, queue=QUEUE, count=1, digest="", guard=guard
    ),
    "put_slot": lambda new_id, guard: slots.put(
        3, "d", new_id, b"", app=APP, terms=SlotTerms(), digest="", window_s=1, guard=guard
    ),
    "reserve": lambda new_id, guard: outbox.reserve(new_id, digest="aa", window_s=1, times=Times(), guard=guard),
}
BATCH_ID: Final = ids.new_batch_id(3, bytes(16))
THOROUGH: Final = Guard(max_memory_share=0.85, must_keep=True)


@pytest.fixture
def own_state() -> Iterator[StateUnderTest]:
    """Return the words for a server whose settings a test may change."""
    with EmbeddedServer() as server:
        under_test = StateUnderTest(server.url)
        yield under_test
        under_test.server.close()


@pytest.mark.parametrize("name", sorted(PUTS))
@pytest.mark.parametrize(
    ("setting", "guard", "error"),
    [
        ("maxmemory 1", THOROUGH, Backpressure),
        ("maxmemory 1", Guard(), Backpressure),
        ("maxmemory-policy allkeys-lru", THOROUGH, UnsafeServerError),
        ("maxmemory-policy volatile-ttl", THOROUGH, UnsafeServerError),
    ],
)
def test_a_refused_put_has_written_nothing(
    own_state: StateUnderTest, name: str, setting: str, guard: Guard, error: type[EnqueueError]
) -> None:
    """Whether the guard refuses it or the server itself, nothing of a put is left behind."""
    own_state.client.config_set(*setting.split())
    with pytest.raises(error) as caught:
        own_state.run(PUTS[name](BATCH_ID, guard))
    assert caught.value.certainly_not_accepted
    assert own_state.client.keys("*") == []


@pytest.mark.parametrize("name", sorted(PUTS))
@pytest.mark.parametrize(
    ("setting", "guard"),
    [
        ("maxmemory 1gb", THOROUGH),
        ("maxmemory 0", THOROUGH),
        ("maxmemory-policy allkeys-lru", Guard(max_memory_share=0.85)),
        ("maxmemory-policy allkeys-lru", Guard()),
    ],
)
def test_what_may_be_put_is_put(own_state: StateUnderTest, name: str, setting: str, guard: Guard) -> None:
    """Below the mark, without a maxmemory, or where nobody minds an evicting server, a put is a put."""
    own_state.client.config_set(*setting.split())
    assert own_state.run(PUTS[name](BATCH_ID, guard))
    assert own_state.client.keys("*")


def test_what_was_accepted_is_repeated_however_full(state: StateUnderTest, new_id: Callable[[], str]) -> None:
    """A caller who was left in doubt is told that it was accepted, though there is no room for it any more."""
    batch_id = new_id()
    state.put(batch_id, digest="aa")
    full = Guard(max_waiting=16)
    again = outbox.put(batch_id, b"", app=APP, lane=Lane.ALERT, queue=QUEUE, count=1, digest="aa", guard=full)
    assert state.run(again) is outbox.Acceptance.REPEATED
    with pytest.raises(Backpressure) as caught:
        state.run(PUTS["put"](new_id(), full))
    assert (caught.value.mark, caught.value.queue) == ("max_waiting", QUEUE)


def test_a_batch_is_settled_on_a_full_server(own_state: StateUnderTest, new_id: Callable[[], str]) -> None:
    """Claim, progress and settle work where nothing can be put any more, or what was sent would be sent again."""
    batch_id = new_id()
    own_state.put(batch_id, count=3)
    own_state.client.config_set("maxmemory", 1)
    assert own_state.claim(batch_id).record
    waits = Notes(waiting=[(1, 1, 0.0, "")])
    assert own_state.progress(batch_id, "one", Notes(ended=[0]), size=3)
    assert own_state.progress(batch_id, "one", waits, size=3)
    assert own_state.settle(batch_id, "one", Notes(ended=[1, 2]), size=3)
    assert own_state.where(batch_id) == set()


def test_a_slot_is_given_back_on_a_full_server(own_state: StateUnderTest, new_id: Callable[[], str]) -> None:
    """A background notification is claimed and its end noted where nothing can be put any more."""
    apns_id = new_id()
    own_state.run(slots.put(3, "d", apns_id, b"{}", app=APP, terms=SlotTerms(), digest="", window_s=1))
    own_state.client.config_set("maxmemory", 1)
    (slot,) = own_state.run(slots.claim(APP, 3, "one", lease_s=30, most=9)).slots
    given = SlotReturn(device=slot.device, apns_id=apns_id, ends=Ends(), counts=True)
    assert own_state.run(slots.give_back(APP, 3, "one", [given])) == 1
    assert not own_state.client.exists("apns:{03}:slot:d")
