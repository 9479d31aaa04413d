"""The phones that are turned on, by their device tokens."""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.dev.simulator.phone import Phone


class Phones:
    """The phones that somebody looks at; all other devices are offline for ever."""

    def __init__(self) -> None:
        self._phones: dict[str, Phone] = {}

    def get(self, device_token: str) -> Phone | None:
        """Return the phone of a device token, if there is one."""
        return self._phones.get(device_token)

    def add(self, phone: Phone) -> None:
        """Turn a phone on; it gets at once what Apple has stored for it."""
        for device_token in phone.device_tokens:
            self._phones[device_token] = phone
        phone.go_online()

    def listening_to(self, channel_id: str) -> Iterable[Phone]:
        """Return the phones that get a broadcast on a channel now."""
        return [phone for phone in set(self._phones.values()) if phone.listens_to(channel_id)]
