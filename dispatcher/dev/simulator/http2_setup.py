"""The HTTP/2 connection that a client of Apple's meets: its announced numbers, and h2 bent to Apple's manners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from dispatcher.dev.simulator.faults import ConnectFault
from dispatcher.dev.simulator.hpack_forms import HpackForm, make_encoder
from dispatcher.dev.simulator.settings import SimulatorSettings

#: What Apple announces. Source: jchambers/pushy issues 476 and 878.
HEADER_TABLE_BYTES: Final = 4096
WINDOW_BYTES: Final = 65_535
MAX_FRAME_BYTES: Final = 16_384
MAX_HEADER_LIST_BYTES: Final = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What a connection announces, and how it writes.

    Attributes:
        max_streams: Concurrent streams at first.
        window_bytes: What a client may send on a stream before it gets credit.
        header_table_bytes: Size of the compression table that the client may use.
        hpack: How answers are compressed.
        returns_window: Give the client credit for what it sent.
    """

    max_streams: int
    window_bytes: int = WINDOW_BYTES
    header_table_bytes: int = HEADER_TABLE_BYTES
    hpack: HpackForm = HpackForm.INDEXED
    returns_window: bool = True


def options_of(settings: SimulatorSettings, fault: ConnectFault, max_streams: int) -> SessionOptions:
    """Return the options of a connection: Apple's, but for what its fault says."""
    window_bytes, header_table_bytes = fault.window_bytes, fault.header_table_bytes
    return SessionOptions(
        max_streams=max_streams,
        window_bytes=WINDOW_BYTES if window_bytes is None else window_bytes,
        header_table_bytes=HEADER_TABLE_BYTES if header_table_bytes is None else header_table_bytes,
        hpack=fault.hpack,
        returns_window=settings.returns_window and not fault.withholds_window,
    )


class ApnsH2(H2Connection):
    """An h2 connection that leaves the stream limit to us.

    h2 ends the whole connection when a client opens one stream too many, and counts all streams at every new one.
    Apple refuses the one stream.
    """

    @property
    def open_inbound_streams(self) -> int:
        """Tell h2 that there is always room for one more."""
        return 0

    def forget_closed_streams(self) -> int:
        """Free the memory of closed streams; return how many are open."""
        return super().open_inbound_streams


def make_h2(options: SessionOptions) -> ApnsH2:
    """Return the server's side of a connection, its SETTINGS ready to be sent."""
    # Our own answers are well-formed; checking them again would cost as much as judging the request.
    config = H2Configuration(client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False)
    connection = ApnsH2(config)
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.HEADER_TABLE_SIZE: options.header_table_bytes,
            SettingCodes.MAX_CONCURRENT_STREAMS: options.max_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: options.window_bytes,
            SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        },
    )
    encoder = make_encoder(options.hpack)
    if encoder is not None:
        connection.encoder = encoder
    connection.initiate_connection()
    return connection
