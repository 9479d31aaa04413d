"""Which fault meets which request or connection: by switch, by rate, by device token, or by script."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from dispatcher.dev.simulator.device_tokens import fault_of
from dispatcher.dev.simulator.devices import Devices
from dispatcher.dev.simulator.faults import FAULTS, ConnectFault, Fault
from dispatcher.dev.simulator.request import Request


@dataclass(slots=True, kw_only=True)
class FaultRule:
    """A fault, and what it befalls.

    Attributes:
        rate: Share of the matching requests or connections; 1 for all.
        skip: How many are spared first.
        times: How many are befallen; None for all.
        device_token: Beginning of the device token, in lower case; empty for all.
        when: Tells of a request whether it is meant; None for all.
        hits: How many were befallen so far.
    """

    fault: Fault | ConnectFault
    rate: float = 1.0
    skip: int = 0
    times: int | None = None
    device_token: str = ""
    when: Callable[[Request], bool] | None = None
    hits: int = 0

    def strikes(self, dice: Random) -> bool:
        """Count one that is meant; tell whether it is befallen."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if dice.random() >= self.rate:
            return False
        self.hits += 1
        return True

    def is_for(self, request: Request) -> bool:
        """Tell whether a request is meant."""
        device_token = request.device_token or ""
        return device_token.startswith(self.device_token) and (self.when is None or self.when(request))


class Faults:
    """The faults of one simulator. May be changed at any time, from any thread.

    Args:
        seed: Of the dice.
        devices: Count the device tokens whose form is a fault.
    """

    def __init__(self, *, seed: int, devices: Devices) -> None:
        self._dice = Random(seed)  # noqa: S311 (dice, no secrets)
        self._devices = devices
        self._rules: tuple[FaultRule, ...] = ()
        self._connect_rules: tuple[FaultRule, ...] = ()
        self._script: deque[Fault | None] = deque()

    def add(self, fault: Fault | ConnectFault | str, **conditions: Any) -> FaultRule:
        """Let something go wrong from now on; rules added later are asked first.

        Args:
            fault: A value, or a name in `FAULTS`.
            conditions: Fields of `FaultRule`: rate, skip, times, device_token, when.

        Raises:
            KeyError: No fault has this name.
        """
        rule = FaultRule(fault=FAULTS[fault] if isinstance(fault, str) else fault, **conditions)
        if isinstance(rule.fault, Fault):
            self._rules = (rule, *self._rules)
        else:
            self._connect_rules = (rule, *self._connect_rules)
        return rule

    def remove(self, rule: FaultRule) -> None:
        """Let a rule strike no more."""
        self._rules = tuple(each for each in self._rules if each is not rule)
        self._connect_rules = tuple(each for each in self._connect_rules if each is not rule)

    def script(self, faults: Iterable[Fault | str | None]) -> None:
        """Give each coming request the next of these, None for nothing; afterwards the rules hold again."""
        for fault in faults:
            named = FAULTS[fault] if isinstance(fault, str) else fault
            if isinstance(named, ConnectFault):
                raise TypeError("a script is made of faults of requests")
            self._script.append(named)

    def clear(self) -> None:
        """Let everything go well again, device tokens apart whose form is a fault."""
        self._rules = self._connect_rules = ()
        self._script.clear()

    def of_request(self, request: Request) -> Fault | None:
        """Return what befalls a request that has come."""
        if self._script:
            return self._script.popleft()
        for rule in self._rules:
            if rule.is_for(request) and rule.strikes(self._dice) and isinstance(rule.fault, Fault):
                return rule.fault
        return fault_of(request.device_token, self._devices)

    def of_connection(self) -> ConnectFault | None:
        """Return what befalls a client that connects."""
        for rule in self._connect_rules:
            if rule.strikes(self._dice) and isinstance(rule.fault, ConnectFault):
                return rule.fault
        return None
