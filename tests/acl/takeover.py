"""A worker that dies with pushes in its hands, and what others do about it meanwhile and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher import Cancellation, Dispatcher, Lane, Settings, ids, outbox, routing, slots
from dispatcher.dev.ports import HOST
from dispatcher.dev.users import Role
from dispatcher.scripts import Clock
from dispatcher.state_server import StateServer
from tests.acl.everybody import Everybody
from tests.running_fleet import APP

_CLAIM: Final = "of a worker that dies"
_LEASE_S: Final = 300.0
#: What may have been sent when the lease ended uses up the budget of its device.
_SPACING_S: Final = 3600.0
_UPDATES: Final = 8


def _unheard(everybody: Everybody) -> Dispatcher:
    """Return a dispatcher of the web app's whose messages no broker takes."""
    env = everybody.stack.env
    broken = {**env, "APNS_STATE_URL": env["APNS_BROKER_URL"], "APNS_BROKER_URL": f"redis://{HOST}:1/0"}
    return Dispatcher(Settings.from_env(broken))


class Dying:
    """A worker that takes what nobody else has heard of, and does nothing with it."""

    def __init__(self, everybody: Everybody) -> None:
        self._everybody = everybody
        self._push = _unheard(everybody)
        self._state = StateServer(everybody.url(Role.WORKER), clock=Clock.SHIFTED, timeout_s=10)
        #: Device token -> apns id of the background notification that is being sent to it.
        self.updates: dict[str, str] = {}

    def take_alert(self) -> str:
        """Take one alert; return its apns id."""
        taken = self._push.alert(APP, self._everybody.new_device(), title="taken over")
        assert not taken.queued
        queue = routing.single_queue(Lane.ALERT)
        claim = outbox.claim(taken.apns_id, _CLAIM, lane=Lane.ALERT, queue=queue, lease_s=_LEASE_S)
        assert self._state.run(claim).record is not None
        return taken.apns_id

    def takes_updates(self) -> bool:
        """Take background notifications, unless another worker's sweep came before; tell whether there are enough."""
        sent = {each: self._push.background(APP, each).apns_id for each in self._everybody.new_devices(_UPDATES)}
        claims = [slots.claim(APP, shard, _CLAIM, lease_s=_LEASE_S, most=_UPDATES) for shard in range(ids.SHARDS)]
        mine = {slot.apns_id for claimed in self._state.run_all(claims) for slot in claimed.slots}
        self.updates |= {device: apns_id for device, apns_id in sent.items() if apns_id in mine}
        return len(self.updates) >= _UPDATES // 2

    def close(self) -> None:
        """Close every connection."""
        self._push.close()
        self._state.close()


def lose_messages(everybody: Everybody) -> None:
    """Accept what no broker hears of: a marker finds it."""
    with _unheard(everybody) as push:
        assert not push.alert(APP, everybody.new_device(), title="lost").queued
    everybody.advance(10)
    everybody.fleet.wait_until_settled()


def lose_worker(everybody: Everybody) -> None:
    """Cancel and replace what a worker is sending, lose the worker, and let others take over when its leases end."""
    push, dying = everybody.push, Dying(everybody)
    dying.take_alert()
    _cancel(push.cancel, dying.take_alert(), Cancellation.BEING_SENT)
    _cancel(everybody.cancel_by_hand, dying.take_alert(), "being sent")
    everybody.fleet.wait_for(dying.takes_updates)
    (cancelled, apns_id), (cancelled_by_hand, other_id), (updated, _), (fetched, _), *_ = dying.updates.items()
    _cancel(push.cancel, apns_id, Cancellation.BEING_SENT)
    _cancel(everybody.cancel_by_hand, other_id, "being sent")
    _cancel(push.cancel, push.background(APP, cancelled, {"newer": 1}).apns_id, Cancellation.CANCELLED)
    newer = push.background(APP, cancelled_by_hand, {"newer": 1})
    _cancel(everybody.cancel_by_hand, newer.apns_id, "cancelled")
    push.background(APP, updated, {"newer": 1})
    push.device_online(APP, fetched, fetched=True)
    dying.close()
    everybody.advance(_LEASE_S + _SPACING_S)
    everybody.fleet.wait_until_settled()


def _cancel(cancel: Callable[[str], str], apns_id: str, expected: str) -> None:
    assert expected in cancel(apns_id)
