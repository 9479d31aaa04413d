"""h2's connection, mended where it fails or slows down a client of APNs.

Uses what h2 leaves open to replacement and nothing below frames.

Source: "Sending notification requests to APNs", on HPACK.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from hpack.hpack import Encoder

#: Headers that differ from push to push. h2 itself adds `authorization`.
UNINDEXED: Final = frozenset({b":path", b"apns-id", b"apns-expiration", b"apns-collapse-id"})

#: How many streams are opened between two of h2's own counts.
COUNT_EVERY: Final = 64


class _ListensAfterGoaway(H2ConnectionStateMachine):
    """Keep reading after GOAWAY: h2 would refuse the answers APNs still owes (RFC 9113 section 6.8)."""

    _transitions = H2ConnectionStateMachine._transitions | {  # noqa: SLF001
        (ConnectionState.IDLE, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.IDLE),
        (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.CLIENT_OPEN),
    }


class _ThriftyEncoder(Encoder):
    """Index only what repeats, as Apple advises, and write values without Huffman code.

    In Python that code costs 35 us a push, to save about 90 bytes.
    """

    def encode(self, headers: Iterable[Any], huffman: bool = False) -> bytes:  # noqa: FBT001, FBT002  hpack's signature
        """Encode a header list."""
        return super().encode(headers, huffman)

    def add(self, to_add: tuple[bytes, bytes], sensitive: bool, huffman: bool = False) -> bytes:  # noqa: FBT001, FBT002
        """Encode one header."""
        return super().add(to_add, sensitive or to_add[0] in UNINDEXED, huffman)


class MendedH2Connection(H2Connection):
    """The client's side of HTTP/2; whoever opens streams obeys the server's limit without being reminded."""

    def __init__(self) -> None:
        super().__init__()
        self.state_machine = _ListensAfterGoaway()
        self.encoder = _ThriftyEncoder()
        self._opened = 0

    @property
    def open_outbound_streams(self) -> int:
        """Return h2's count now and then, else 0.

        h2 asks before each stream, walks all of them, and forgets the closed ones on the way: with 1,000 in flight that
        is a third of a push.
        """
        self._opened += 1
        return super().open_outbound_streams if self._opened % COUNT_EVERY == 0 else 0
