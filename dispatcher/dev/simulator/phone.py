"""A phone: what a person would have seen, and what the app would have been woken for.

Source: "Pushing background updates to your App"; "Viewing the status of push notifications using Metrics and APNs";
"Responding to VoIP Notifications from PushKit"; application(_:didReceiveRemoteNotification:fetchCompletionHandler:).
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.dev.simulator.registrations import Registrations
from dispatcher.dev.simulator.storage import AcceptedPush, Storage
from dispatcher.push_types import PUSH_TYPES

_HOUR_S: Final = 3600.0
_VISIBLE: Final = ("alert", "badge", "sound")
#: Push types whose payload the system itself looks at; the others go to the app as they are.
_JUDGED: Final = frozenset({"alert", "background"})
FORCE_QUIT: Final = "the person has force-quit the app"
REPLACED: Final = "a newer background push came while it was held"
UNINSTALLED: Final = "the app is not there any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A push that reached the phone and nobody.

    Attributes:
        why: In words.
    """

    push: AcceptedPush
    why: str


class Phone:
    """One person's phone, as far as one app goes. Online at first, the app in the background.

    Made by `Simulator.phone`. Every method may be called from any thread. What Apple's pages only promise in general
    terms happens here at once and always: an online phone gets a push in the moment of its 200.

    Attributes:
        device_tokens: Of the app on this phone: the ordinary one, that for VoIP, and so on.
        is_online: Whether pushes reach it.
        is_force_quit: Whether the person has swiped the app away: nothing wakes it then but a call.
        dropped: What reached the phone and nobody, with the reason.
    """

    def __init__(
        self,
        device_tokens: tuple[str, ...],
        *,
        storage: Storage,
        registrations: Registrations,
        clock: Callable[[], float],
        background_per_hour: int,
        uninstall_notice_s: float,
    ) -> None:
        self.device_tokens = device_tokens
        self.is_online = True
        self.is_force_quit = False
        self.dropped: list[Dropped] = []
        self._storage = storage
        self._registrations = registrations
        self._clock = clock
        self._background_per_hour = background_per_hour
        self._uninstall_notice_s = uninstall_notice_s
        self._is_installed = True
        self._lock = threading.RLock()
        self._received: list[AcceptedPush] = []
        self._shown: list[AcceptedPush] = []
        self._held: AcceptedPush | None = None
        self._woken_at: deque[float] = deque()
        self._channels: set[str] = set()

    @property
    def received(self) -> tuple[AcceptedPush, ...]:
        """What was shown to the person or handed to the app, in order."""
        with self._lock:
            self._release_held()
            return tuple(self._received)

    @property
    def lock_screen(self) -> tuple[AcceptedPush, ...]:
        """The alerts to be seen, oldest first; of one collapse id only the newest."""
        with self._lock:
            return tuple(self._shown)

    @property
    def held_background(self) -> AcceptedPush | None:
        """The background push that waits for the budget or for the person to open the app."""
        with self._lock:
            self._release_held()
            return self._held

    def go_offline(self) -> None:
        """Lose the network: from now on Apple stores one push per device token and topic."""
        with self._lock:
            self.is_online = False

    def go_online(self) -> None:
        """Find the network again, and get what Apple has stored and what has not expired."""
        with self._lock:
            self.is_online = True
            for device_token in self.device_tokens:
                for push in self._storage.take_all(device_token, self._clock()):
                    self.take(push)

    def launch_app(self) -> None:
        """Open the app: what is held is handed to it at once, and the alerts are gone from the lock screen."""
        with self._lock:
            self.is_force_quit = False
            self._shown.clear()
            if self._held is not None:
                self._received.append(self._held)
                self._held = None

    def force_quit(self) -> None:
        """Swipe the app away: what is held is lost, and nothing wakes the app until it is opened."""
        with self._lock:
            self.is_force_quit = True
            if self._held is not None:
                self.dropped.append(Dropped(push=self._held, why=FORCE_QUIT))
                self._held = None

    def uninstall(self) -> None:
        """Remove the app. Apple goes on answering 200 for some time (`uninstall_notice_s`), then 410."""
        with self._lock:
            self._is_installed = False
            self._shown.clear()
            for device_token in self.device_tokens:
                self._registrations.unregister(device_token, died_at=self._clock() + self._uninstall_notice_s)

    def install(self) -> None:
        """Have the app again, with the same device tokens."""
        with self._lock:
            self._is_installed = True
            for device_token in self.device_tokens:
                self._registrations.register(device_token)

    def subscribe(self, channel_id: str) -> None:
        """Listen to a broadcast channel."""
        with self._lock:
            self._channels.add(channel_id)

    def listens_to(self, channel_id: str) -> bool:
        """Tell whether the phone would get a broadcast now."""
        with self._lock:
            return self.is_online and channel_id in self._channels

    def take(self, push: AcceptedPush) -> None:
        """Get a push over the air."""
        with self._lock:
            self._release_held()
            why = self._refusal(push) if self._is_installed else UNINSTALLED
            if why:
                self.dropped.append(Dropped(push=push, why=why))
            elif _is_background(push):
                self._wake(push)
            else:
                self._received.append(push)
                self._show(push)

    def _refusal(self, push: AcceptedPush) -> str:
        content = _content(push)
        if content is None:
            return "payload: is not a JSON object, the device will not show it"
        if push.channel_id and _aps(push).get("event") == "start":
            return "a broadcast cannot start an activity"
        push_type = "background" if _is_background(push) else push.push_type or "alert"
        if push_type not in _JUDGED:
            return ""
        return "; ".join(f"{field}: {rule}" for field, rule in PUSH_TYPES[push_type].payload_rule(content))

    def _wake(self, push: AcceptedPush) -> None:
        if self.is_force_quit:
            self.dropped.append(Dropped(push=push, why=FORCE_QUIT))
        elif self._has_budget():
            self._hand_over(push)
        else:
            if self._held is not None:
                self.dropped.append(Dropped(push=self._held, why=REPLACED))
            self._held = push

    def _show(self, push: AcceptedPush) -> None:
        if "alert" not in _aps(push):
            return
        if push.collapse_id:
            self._shown = [each for each in self._shown if each.collapse_id != push.collapse_id]
        self._shown.append(push)

    def _release_held(self) -> None:
        if self._held is not None and self._has_budget():
            held, self._held = self._held, None
            self._hand_over(held)

    def _hand_over(self, push: AcceptedPush) -> None:
        self._woken_at.append(self._clock())
        self._received.append(push)

    def _has_budget(self) -> bool:
        now = self._clock()
        while self._woken_at and now - self._woken_at[0] >= _HOUR_S:
            self._woken_at.popleft()
        return len(self._woken_at) < self._background_per_hour


def _content(push: AcceptedPush) -> dict[str, Any] | None:
    try:
        content = json.loads(push.payload)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _aps(push: AcceptedPush) -> dict[str, Any]:
    aps = (_content(push) or {}).get("aps")
    return aps if isinstance(aps, dict) else {}


def _is_background(push: AcceptedPush) -> bool:
    if push.push_type:
        return push.push_type == "background"
    aps = _aps(push)
    return "content-available" in aps and not any(name in aps for name in _VISIBLE)
