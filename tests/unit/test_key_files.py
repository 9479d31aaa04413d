"""Signing keys are read from files that nobody else can change or read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from structlog.testing import capture_logs

from dispatcher.errors import SettingsError, SigningError
from dispatcher.settings import Mode, Settings, SigningKey
from workers.key_files import load_signing_key, load_signing_keys

PEM = Encoding.PEM
PKCS8 = PrivateFormat.PKCS8


def make_pem(
    private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    private_format: PrivateFormat = PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    """Write a private key as PEM."""
    return private_key.private_bytes(PEM, private_format, encryption or NoEncryption())


def write_key(tmp_path: Path, pem: bytes, permissions: int = 0o600) -> SigningKey:
    """Write a key file with the given permissions, whatever the umask."""
    file = tmp_path / "AuthKey_KEYID12345.p8"
    file.write_bytes(pem)
    file.chmod(permissions)
    return SigningKey(key_id="KEYID12345", team_id="TEAMID1234", file=file)


def make_p256() -> ec.EllipticCurvePrivateKey:
    """Make a key as Apple does."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("permissions", [0o600, 0o400])
def test_a_key_of_its_owner_alone_is_loaded_without_a_word(tmp_path: Path, mode: Mode, permissions: int) -> None:
    """The loaded key is the one in the file, and nothing is logged."""
    private_key = make_p256()
    with capture_logs() as logs:
        loaded = load_signing_key(write_key(tmp_path, make_pem(private_key), permissions), mode)
    assert loaded.private_key.private_numbers() == private_key.private_numbers()
    assert (loaded.key_id, loaded.team_id) == ("KEYID12345", "TEAMID1234")
    assert logs == []


@pytest.mark.parametrize("name", ["AuthKey_KEYID12345.p8", "apns.p8", "AuthKey_KEYID12345-old.p8"])
def test_a_file_may_have_any_name_of_ours(tmp_path: Path, name: str) -> None:
    """A name that does not say it is another key's is no obstacle."""
    signing_key = write_key(tmp_path, make_pem(make_p256()))
    named = replace(signing_key, file=signing_key.file.rename(tmp_path / name))
    assert load_signing_key(named, Mode.PRODUCTION).key_id == "KEYID12345"


def test_a_file_that_apple_named_for_another_key_is_refused(tmp_path: Path) -> None:
    """Apple would refuse every push signed with it: the file's name tells before that."""
    signing_key = replace(write_key(tmp_path, make_pem(make_p256())), key_id="KEYID67890")
    with pytest.raises(SigningError, match=r"is named as the key KEYID12345; write \[keys\.KEYID12345\]"):
        load_signing_key(signing_key, Mode.DEVELOPMENT)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("permissions", [0o620, 0o602, 0o666])
def test_a_key_that_others_may_write_is_refused(tmp_path: Path, mode: Mode, permissions: int) -> None:
    """Somebody else could exchange it: refused in both modes, with the command that mends it."""
    signing_key = write_key(tmp_path, make_pem(make_p256()), permissions)
    with pytest.raises(SigningError, match=rf"others may write to it \(mode {permissions:04o}\); chmod 600 /.*p8"):
        load_signing_key(signing_key, mode)


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o444])
def test_a_key_that_others_may_read_is_refused_in_production(tmp_path: Path, permissions: int) -> None:
    """The error names the command, and the setting of a Kubernetes secret."""
    signing_key = write_key(tmp_path, make_pem(make_p256()), permissions)
    with pytest.raises(SigningError, match=r"others may read it .*; chmod 600 .*defaultMode: 0400"):
        load_signing_key(signing_key, Mode.PRODUCTION)


def test_a_key_that_others_may_read_is_a_warning_in_development(tmp_path: Path) -> None:
    """One event names key, file and mend; the key is loaded."""
    signing_key = write_key(tmp_path, make_pem(make_p256()), 0o644)
    with capture_logs() as logs:
        load_signing_key(signing_key, Mode.DEVELOPMENT)
    (event,) = logs
    assert (event["event"], event["log_level"]) == ("signing_key_readable_by_others", "warning")
    assert (event["key_id"], event["permissions"]) == ("KEYID12345", "0644")
    assert f"chmod 600 {signing_key.file}" in event["mend"]


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "is not an unencrypted PKCS#8 key"),
        (b"\x00\xff hello", "is not an unencrypted PKCS#8 key"),
        (make_pem(make_p256(), PrivateFormat.TraditionalOpenSSL), "is not an unencrypted PKCS#8 key"),
        (make_pem(make_p256(), PKCS8, BestAvailableEncryption(b"x")), "is not an unencrypted PKCS#8 key"),
        (make_pem(make_p256())[:-60], "the PKCS#8 key is damaged"),
        (make_pem(ec.generate_private_key(ec.SECP384R1())), "is not a key on the curve P-256"),
        (make_pem(rsa.generate_private_key(65537, 2048)), "is not a key on the curve P-256"),
    ],
    ids=["empty", "garbage", "sec1", "encrypted", "cut", "p384", "rsa"],
)
def test_what_is_not_apples_kind_of_key_is_refused(tmp_path: Path, pem: bytes, words: str) -> None:
    """The error says what is wrong and shows nothing of the file."""
    with pytest.raises(SigningError) as caught:
        load_signing_key(write_key(tmp_path, pem), Mode.PRODUCTION)
    assert words in str(caught.value)
    assert not any(line in str(caught.value) for line in pem.decode("latin-1").splitlines()[1:])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error names the table, the path and what to do."""
    file = tmp_path / "none.p8"
    signing_key = SigningKey(key_id="KEYID12345", team_id="TEAMID1234", file=file)
    with pytest.raises(SigningError, match=rf"\[keys\.KEYID12345\] file {file}: there is no such file"):
        load_signing_key(signing_key, Mode.DEVELOPMENT)


def test_a_directory_in_the_place_of_a_key_is_refused(tmp_path: Path) -> None:
    """An empty mount is a frequent mistake."""
    signing_key = SigningKey(key_id="KEYID12345", team_id="TEAMID1234", file=tmp_path)
    with pytest.raises(SigningError, match="cannot be read"):
        load_signing_key(signing_key, Mode.DEVELOPMENT)


@pytest.mark.timeout(5)
def test_a_pipe_in_the_place_of_a_key_does_not_hang(tmp_path: Path) -> None:
    """Opening a pipe waits for a writer that never comes; we do not."""
    file = tmp_path / "pipe.p8"
    os.mkfifo(file, 0o600)
    signing_key = SigningKey(key_id="KEYID12345", team_id="TEAMID1234", file=file)
    with pytest.raises(SigningError, match="is not a regular file"):
        load_signing_key(signing_key, Mode.DEVELOPMENT)


def test_a_link_is_judged_by_the_file_it_leads_to(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links, whose own mode is 0777."""
    private_key = make_p256()
    write_key(tmp_path, make_pem(private_key))
    link = tmp_path / "link.p8"
    link.symlink_to(tmp_path / "AuthKey_KEYID12345.p8")
    signing_key = SigningKey(key_id="KEYID12345", team_id="TEAMID1234", file=link)
    loaded = load_signing_key(signing_key, Mode.PRODUCTION)
    assert loaded.private_key.private_numbers() == private_key.private_numbers()


def write_settings(tmp_path: Path, *key_ids: str) -> Settings:
    """Read settings with these keys, whose files may be missing."""
    tables = [f'[keys.{key_id}]\nteam_id = "TEAMID1234"\nfile = "AuthKey_{key_id}.p8"' for key_id in key_ids]
    config = tmp_path / "apns.toml"
    config.write_text("\n".join([*tables, f'[apps."com.example.app"]\nkey = "{key_ids[0]}"']))
    return Settings.from_env({"APNS_BROKER_URL": "redis://localhost", "APNS_CONFIG": str(config)})


def test_all_keys_are_loaded_by_key_id(tmp_path: Path) -> None:
    """The files are found beside the TOML file."""
    write_key(tmp_path, make_pem(make_p256()))
    loaded = load_signing_keys(write_settings(tmp_path, "KEYID12345"))
    assert {key_id: key.team_id for key_id, key in loaded.items()} == {"KEYID12345": "TEAMID1234"}


def test_all_bad_key_files_are_reported_together(tmp_path: Path) -> None:
    """One error, one line per key that cannot be used."""
    write_key(tmp_path, make_pem(make_p256()), 0o666)
    with pytest.raises(SettingsError) as caught:
        load_signing_keys(write_settings(tmp_path, "KEYID12345", "KEYID67890"))
    writable, missing = caught.value.problems
    assert "[keys.KEYID12345]" in writable
    assert "[keys.KEYID67890]" in missing


def test_a_loaded_key_does_not_show_its_private_key(tmp_path: Path) -> None:
    """The repr, which ends up in tracebacks, holds ids only."""
    loaded = load_signing_key(write_key(tmp_path, make_pem(make_p256())), Mode.PRODUCTION)
    assert repr(loaded) == "LoadedKey(key_id='KEYID12345', team_id='TEAMID1234')"
