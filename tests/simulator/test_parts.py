"""Parts of the simulator by themselves, where a whole conversation would say less."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from dispatcher.dev.simulator import OBSERVED, STRICT, IdleManner, SimulatorSettings, SimulatorThread
from dispatcher.dev.simulator.client_certificates import TOPICS, WORKS_IN, read_client_certificate
from dispatcher.dev.simulator.connects import Connects
from dispatcher.dev.simulator.registrations import Registrations
from dispatcher.dev.simulator.setting_texts import with_setting
from dispatcher.errors import SettingsError
from dispatcher.push_types import Environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.running import RunningSimulator

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def certificate(bundle_id: str, extensions: dict[ObjectIdentifier, bytes]) -> bytes:
    """Return a client certificate with extensions of Apple's."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.USER_ID, bundle_id)] if bundle_id else []
    name = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), NOW, NOW)
    for oid, content in extensions.items():
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, content), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_certificate_of_several_topics_has_no_default() -> None:
    """Topics of the extension add to the bundle id; then a request has to name its topic."""
    extensions = {TOPICS: b"com.ex.a.voip com.ex.a.complication", WORKS_IN[Environment.SANDBOX]: b"\x05\x00"}

    read = read_client_certificate(certificate("com.ex.a", extensions))

    assert read is not None
    assert read.topics == {"com.ex.a", "com.ex.a.voip", "com.ex.a.complication"}
    assert not read.default_topic
    assert set(read.environments) == {Environment.SANDBOX}
    assert read.works_in(None)
    assert not read.works_in(Environment.PRODUCTION)


def test_a_certificate_without_topics_is_none() -> None:
    """A certificate that names no app gives no right to push, no more than none at all."""
    assert read_client_certificate(certificate("", {})) is None
    assert read_client_certificate(None) is None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("environment", "sandbox", SimulatorSettings(environment=Environment.SANDBOX)),
        ("idle_manner", "close", SimulatorSettings(idle_manner=IdleManner.CLOSE)),
        ("max_expiration", "", SimulatorSettings(max_expiration=None)),
        ("max_expiration", "5", SimulatorSettings(max_expiration=5)),
        ("wedge_after_expired", "No", SimulatorSettings(wedge_after_expired=False)),
        ("device_burst", "7", SimulatorSettings(device_burst=7)),
        ("latency_s", "0.5", SimulatorSettings(latency_s=0.5)),
    ],
)
def test_a_setting_is_read_from_text(name: str, text: str, expected: SimulatorSettings) -> None:
    """Every kind of setting can be written as text."""
    assert expected == with_setting(STRICT, name, text)


@pytest.mark.parametrize(("name", "text"), [("wedge_after_expired", "perhaps"), ("device_burst", "many"), ("x", "1")])
def test_a_text_that_is_no_setting_is_named(name: str, text: str) -> None:
    """What cannot be read is an error that names the setting."""
    with pytest.raises(SettingsError, match=name):
        with_setting(OBSERVED, name, text)


def test_connects_are_counted_by_address_and_minute() -> None:
    """One address does not use up another's connections, a minute later there are new ones, and 0 sets no limit."""
    connects, endless = Connects(per_minute=1), Connects(per_minute=0)

    admitted = [connects.admits(*each) for each in (("a", 0.0), ("a", 59.0), ("b", 59.0), ("a", 60.0))]

    assert admitted == [True, False, True, True]
    assert all(endless.admits("a", 0.0) for _ in range(1_000))


def test_a_death_keeps_what_is_known_of_the_device() -> None:
    """A device token that dies still belongs to its topic and environment; registered again it lives."""
    registrations = Registrations()
    registrations.register("AB", topic="com.ex.a", environment=Environment.SANDBOX)
    registrations.unregister("ab", died_at=5.0)

    dead = registrations.get("ab")
    registrations.register("ab")
    alive = registrations.get("ab")

    assert dead is not None
    assert (dead.topic, dead.environment, dead.died_at) == ("com.ex.a", Environment.SANDBOX, 5.0)
    assert alive is not None
    assert alive.died_at is None


def test_waiting_for_requests_ends_in_time(apns: RunningSimulator) -> None:
    """Whoever waits for pushes that never come is told how many did."""
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        apns.wait_for_requests(1, within_s=0.05)


def test_a_thread_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """An error at the start is raised to the caller, and the thread has ended."""
    (tmp_path / "apns.toml").write_text("[neither")

    with pytest.raises(SettingsError, match=r"apns\.toml"), SimulatorThread(tmp_path):
        raise AssertionError("it cannot have started")
