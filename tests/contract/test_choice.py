"""The configuration file chooses the implementation and the proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.settings import Settings
from tests.contract.conftest import NOW
from workers.signing import ProviderTokens
from workers.transport.aioapns_adapter import AioapnsTransport
from workers.transport.choice import make_transport
from workers.transport.multiplexed import MultiplexedTransport
from workers.transport.pooled import PooledTransport

CONFIG = """\
[keys.KEYID12345]
team_id = "TEAMID1234"
file = "AuthKey_KEYID12345.p8"

[apps."com.example.app"]
key = "KEYID12345"

[workers]
proxy = "http://127.0.0.1:3128"
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", MultiplexedTransport),
        ('transport = "multiplexed"', MultiplexedTransport),
        ('transport = "aioapns"', AioapnsTransport),
    ],
)
def test_transport_is_the_configured_one(tmp_path: Path, line: str, expected: type[PooledTransport]) -> None:
    """Without a word it is ours; either goes through the proxy."""
    config = tmp_path / "apns.toml"
    config.write_text(CONFIG + line)
    settings = Settings.from_env({"APNS_BROKER_URL": "redis://127.0.0.1:1", "APNS_CONFIG": str(config)})
    transport = make_transport(settings, tokens=ProviderTokens({}), now=lambda: NOW, dice=lambda: 0.0)
    assert type(transport) is expected
    assert transport.dialler.proxy == "http://127.0.0.1:3128"
