"""What is remembered of one HTTP/2 stream until its answer is finished."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.dev.simulator.request import RawHeaders


@dataclass(slots=True)
class Stream:
    """A stream whose answer is not finished.

    Attributes:
        pieces: The body so far.
        withheld: What of the answer's body waits for the client's window.
        piece_bytes: Most body bytes in one DATA frame; 0 for as many as fit.
        ends_separately: An empty DATA frame of its own ends the stream.
        is_silent: Nobody will ever answer it.
    """

    headers: RawHeaders
    pieces: list[bytes] = field(default_factory=list)
    withheld: bytes = b""
    piece_bytes: int = 0
    ends_separately: bool = False
    is_silent: bool = False
