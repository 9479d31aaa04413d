"""What a simulator writes for its users, and what it keeps when it starts again."""

from __future__ import annotations

import socket
import ssl
import stat
import tomllib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dispatcher.dev.simulator import SimulatorSettings
from dispatcher.dev.simulator.world import APPS, SIGNING_KEYS, open_world
from dispatcher.errors import SettingsError
from dispatcher.push_types import Environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.running import Run

PAYLOAD = b'{"aps":{"alert":"hi"}}'


def test_the_directory_holds_all_that_a_dispatcher_needs(run: Run, tmp_path: Path) -> None:
    """The configuration names existing key files, the running address and the CA file, and times retries short."""
    directory = tmp_path / "new" / "directory"
    apns = run(where=directory)

    config = tomllib.loads((directory / "apns.toml").read_text())

    assert set(config["apps"]) == {app.bundle_id for app in APPS}
    assert {app["key"] for app in config["apps"].values()} <= set(config["keys"])
    assert {app["environment"] for app in config["apps"].values()} == {"production"}
    assert all((directory / key["file"]).exists() for key in config["keys"].values())
    assert {config["endpoints"][name] for name in ("production", "sandbox")} == {apns.simulator.url}
    assert (directory / config["endpoints"]["ca_file"]).exists()
    assert config["development"] == {"retry_scale": 0.002}


def test_the_apps_of_a_sandbox_are_in_the_sandbox(run: Run, tmp_path: Path) -> None:
    """A simulator of Apple's sandbox writes apps of that environment."""
    run(SimulatorSettings(environment=Environment.SANDBOX), where=tmp_path / "sandbox")

    config = tomllib.loads((tmp_path / "sandbox" / "apns.toml").read_text())

    assert {app["environment"] for app in config["apps"].values()} == {"sandbox"}


def test_signing_keys_are_private(run: Run, tmp_path: Path) -> None:
    """Private keys are readable by their owner alone; the signing keys are PKCS#8 on P-256."""
    run(where=tmp_path / "keys")
    key_files = [tmp_path / "keys" / f"AuthKey_{signing_key.key_id}.p8" for signing_key in SIGNING_KEYS]

    for path in (*key_files, tmp_path / "keys" / "server-key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in key_files:
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_restart_keeps_keys_and_certificates(run: Run, tmp_path: Path) -> None:
    """Started again in the same directory, it works with the files of before; only the address is renewed."""
    directory = tmp_path / "again"
    first = run(where=directory)
    provider_token = first.sign()
    kept = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "apns.toml"}

    second = run(where=directory)

    assert kept == {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "apns.toml"}
    assert second.simulator.url in (directory / "apns.toml").read_text()
    assert first.simulator.url not in (directory / "apns.toml").read_text()
    with second.connect() as client:
        assert client.ask(second.headers(provider_token=provider_token), PAYLOAD).status == 200


def test_an_app_added_to_the_configuration_exists_after_a_restart(run: Run, tmp_path: Path) -> None:
    """Whoever writes an app of their own into the configuration can push to it, if it has one of the keys there."""
    directory = tmp_path / "mine"
    config_file = directory / "apns.toml"
    run(where=directory)
    added = '[apps."org.example.mine"]\nkey = "KEYTEAMBBB"\n[apps."org.example.lost"]\nkey = "KEYUNKNOWN"\n'
    config_file.write_text(config_file.read_text() + added)

    apns = run(where=directory)
    provider_token = apns.sign("KEYTEAMBBB", "TEAMBBBBBB")

    assert added in config_file.read_text()
    with apns.connect() as client:
        mine = client.ask(apns.headers(provider_token=provider_token, apns_topic="org.example.mine"), PAYLOAD)
        lost = client.ask(apns.headers(provider_token=provider_token, apns_topic="org.example.lost"), PAYLOAD)
    assert (mine.status, lost.reason) == (200, "TopicDisallowed")


def test_a_lost_certificate_is_made_anew(run: Run, tmp_path: Path) -> None:
    """If one of the certificate files is gone, all of them are made again and fit together."""
    directory = tmp_path / "lost"
    run(where=directory)
    (directory / "server.pem").unlink()

    apns = run(where=directory)

    with apns.connect() as client:
        assert client.ask(apns.headers(), PAYLOAD).status == 200


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_certificate_stands_the_strictest_verification(name: str, run: Run, directory: Path) -> None:
    """OpenSSL's strict mode, the default of newer Pythons, accepts the certificate under this machine's names."""
    port = run().simulator.port
    context = strict_context(directory)

    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        assert connection.version() == "TLSv1.3"


def test_the_certificate_is_for_this_machine_only(run: Run, directory: Path) -> None:
    """Under any other name the certificate is refused."""
    port = run().simulator.port
    context = strict_context(directory)

    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="example.com")


def strict_context(directory: Path) -> ssl.SSLContext:
    """Return a client's side of TLS that trusts the directory's CA and overlooks nothing."""
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_a_key_file_that_holds_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    """A foreign key in the place of a signing key is named, not used."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "AuthKey_KEYLEGACY0.p8").write_bytes(pem)

    with pytest.raises(SettingsError, match=r"AuthKey_KEYLEGACY0\.p8"):
        open_world(tmp_path)


@pytest.mark.parametrize("name", ["AuthKey_KEYLEGACY0.p8", "apns.toml"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    """Whatever stands in the place of a key or the configuration, the error says which file it is."""
    (tmp_path / name).write_text("[neither key nor TOML")

    with pytest.raises(SettingsError, match=name):
        open_world(tmp_path)
