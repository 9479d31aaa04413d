"""Counts of what a simulator was asked and answered."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from dispatcher.dev.simulator.answers import Answer


@dataclass(slots=True, kw_only=True)
class Stats:
    """Running counts, to read at any time.

    Attributes:
        requests: Whole requests received.
        connections: Connections made so far.
        answers: By (status, reason); silence counts as what it would have said.
        provider_tokens_by_key: Key id named (empty for unknown ones) -> fingerprints of the distinct provider tokens.
        provider_tokens_by_connection: Number of the connection -> the same.
    """

    requests: int = 0
    connections: int = 0
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    provider_tokens_by_key: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    provider_tokens_by_connection: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    def count(self, answer: Answer, *, connection: int, key_id: str, fingerprint: str) -> None:
        """Count one request; the fingerprint stands for its provider token and is empty without one."""
        self.requests += 1
        self.answers[answer.status, answer.reason] += 1
        if fingerprint:
            self.provider_tokens_by_key[key_id].add(fingerprint)
            self.provider_tokens_by_connection[connection].add(fingerprint)
