"""kombu's AMQP transport, never waiting for ever.

    app.conf.broker_transport = "dispatcher.bounded_amqp:Transport"            # who consumes
    app.conf.broker_transport = "dispatcher.bounded_amqp:PublishingTransport"  # who publishes, within a deadline

py-amqp waits without limit for most replies, a publisher's confirmation among them: a broker that is stuck, or one that
takes no messages while its memory is full, would hold up a web request for as long.
"""

from __future__ import annotations

import os
from typing import Any, Final

from kombu.transport import pyamqp

from dispatcher import deadline

#: How long a broker may say nothing while a reply is due, where nobody set a deadline; it beats twice in that time.
LONGEST_SILENCE_S: Final = 10.0


class Connection(pyamqp.Connection):
    """Waits until the deadline of the code around it, then is closed and of no use any more."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made_in = os.getpid()

    def connect(self, callback: Any = None) -> Any:
        """Connect within what time there is."""
        self.connect_timeout = deadline.remaining_s(self.connect_timeout or LONGEST_SILENCE_S) or _AT_ONCE_S
        return super().connect(callback)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read one frame; what the caller asks for counts, as long as it is not more than there is."""
        left_s = deadline.remaining_s(LONGEST_SILENCE_S)
        if timeout is not None and timeout <= left_s:
            return super().blocking_read(timeout)
        try:
            return super().blocking_read(left_s or _AT_ONCE_S)
        except TimeoutError:
            # A confirmation that comes later would be taken for that of the next message.
            self.collect()
            raise

    def is_open(self) -> bool:
        """Tell whether the broker has not ended the connection; reads what has arrived."""
        try:
            while self.connected:
                self.drain_events(timeout=0)
        except TimeoutError:
            return True
        except (*self.connection_errors, *self.channel_errors):
            self.collect()
        return False

    def abandon(self) -> None:
        """Let go of a socket that belongs to the parent process, without a word to the broker."""
        if self.connected:
            os.close(self.transport.sock.detach())
            self.transport.sock = None
        self.collect()


class Transport(pyamqp.Transport):
    """kombu's AMQP transport with our connection."""

    Connection: type[Connection] = Connection

    def establish_connection(self) -> Any:
        """Connect; over TLS to the host that is meant now, the second of a list too."""
        kombu_connection: Any = self.client
        if isinstance(kombu_connection.ssl, dict):
            kombu_connection.ssl = dict(kombu_connection.ssl)  # kombu notes the host's name there, and would keep it
        return super().establish_connection()


class PublishingTransport(Transport):
    """Notices before it publishes that a connection has ended since, or was made before a fork."""

    def verify_connection(self, connection: Any) -> bool:
        """Tell whether a connection of ours can be used."""
        if connection.made_in != os.getpid():
            connection.abandon()
        return bool(connection.is_open())


#: py-amqp takes a timeout of 0 for none in some places.
_AT_ONCE_S: Final = 0.001
