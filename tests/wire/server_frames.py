"""What a server sends, frame by frame."""

from __future__ import annotations

from typing import Final

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.wire.pushes import AUTHORITY
from workers.transport.wire.connection import WireConnection

BAD_TOKEN: Final = b'{"reason":"BadDeviceToken"}'


def joined(*frames: Frame) -> bytes:
    """Return the bytes of frames."""
    return b"".join(frame.serialize() for frame in frames)


def block(*fields: tuple[bytes, bytes], status: bytes = b"200", encoder: Encoder | None = None) -> bytes:
    """Return a header block, by default of a server that follows our HEADER_TABLE_SIZE of 0."""
    if encoder is None:
        encoder = Encoder()
        encoder.header_table_size = 0
    return encoder.encode([(b":status", status), *fields])


def settings(**values: int) -> bytes:
    """Return a SETTINGS frame; the names are those of hyperframe's constants."""
    return joined(SettingsFrame(0, settings={getattr(SettingsFrame, name): value for name, value in values.items()}))


def headers(stream_id: int, header_block: bytes, *flags: str) -> HeadersFrame:
    """Return HEADERS with a whole block."""
    return HeadersFrame(stream_id, data=header_block, flags=["END_HEADERS", *flags])


def continuation(stream_id: int, part: bytes, *flags: str) -> ContinuationFrame:
    """Return a further part of a block."""
    return ContinuationFrame(stream_id, data=part, flags=flags)


def body(stream_id: int, content: bytes, *flags: str, padding: int = 0) -> DataFrame:
    """Return a part of a body."""
    return DataFrame(stream_id, data=content, flags=flags, pad_length=padding)


def reset(stream_id: int, error_code: int) -> RstStreamFrame:
    """Return the end of a stream."""
    return RstStreamFrame(stream_id, error_code=error_code)


def credit(stream_id: int, increment: int) -> WindowUpdateFrame:
    """Return a WINDOW_UPDATE."""
    return WindowUpdateFrame(stream_id, window_increment=increment)


def plain_200(stream_id: int) -> HeadersFrame:
    """Return the answer to an accepted push."""
    return headers(stream_id, b"\x88", "END_STREAM")


def connected(**values: int) -> WireConnection:
    """Return a connection that has read the server's settings, by default as APNs states them."""
    connection = WireConnection(authority=AUTHORITY)
    connection.receive_data(settings(**{"MAX_CONCURRENT_STREAMS": 1_000, **values}))
    connection.data_to_send()
    return connection


def read_frames(raw: bytes) -> list[Frame]:
    """Return the frames a client wrote."""
    frames = []
    view = memoryview(raw)
    while view:
        frame, size = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + size])
        frames.append(frame)
        view = view[9 + size :]
    return frames
