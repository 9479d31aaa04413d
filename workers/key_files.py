"""Signing keys read from their .p8 files, refused when anybody else could change or read them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from dispatcher.errors import SettingsError, SigningError
from dispatcher.extras import needs_extra
from dispatcher.settings import Mode, Settings, SigningKey

with needs_extra("workers", part="loading signing keys", modules=("cryptography",)):
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

PKCS8_HEADER: Final = b"-----BEGIN PRIVATE KEY-----"
MAX_FILE_BYTES: Final = 16 * 1024

WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH

#: How Apple names the files: the key id stands in the name alone, a .p8 does not hold it.
_APPLES_NAME: Final = re.compile(r"AuthKey_([A-Z0-9]{10})\.p8")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedKey:
    """A signing key that can sign.

    Attributes:
        key_id: Apple's id of the key, the JWT's `kid`.
        team_id: The team it belongs to, the JWT's `iss`.
        private_key: Always on the curve P-256 when it comes from `load_signing_key`.
    """

    key_id: str
    team_id: str
    private_key: EllipticCurvePrivateKey = field(repr=False)

    def is_same(self, other: LoadedKey) -> bool:
        """Tell whether both sign to the same bytes."""
        ours, theirs = (one.private_key.public_key().public_numbers() for one in (self, other))
        return (self.key_id, self.team_id, ours) == (other.key_id, other.team_id, theirs)


def load_signing_keys(settings: Settings) -> Mapping[str, LoadedKey]:
    """Load every configured signing key, by key id.

    Raises:
        SettingsError: At least one cannot be used; holds one line for each of those, with the mend.
    """
    loaded: dict[str, LoadedKey] = {}
    problems: list[str] = []
    for signing_key in settings.keys.values():
        try:
            loaded[signing_key.key_id] = load_signing_key(signing_key, settings.mode)
        except SigningError as exc:
            problems.append(str(exc))
    if problems:
        raise SettingsError(problems)
    return MappingProxyType(loaded)


def load_signing_key(signing_key: SigningKey, mode: Mode) -> LoadedKey:
    """Load one signing key from its file.

    Readable by others is refused in production and a warning in development; writable by others is always refused.

    Raises:
        SigningError: The file is missing, open to others, named by Apple for another key, or holds no PKCS#8 key on
            P-256. Never shows its content.
    """
    where = f"[keys.{signing_key.key_id}] file {signing_key.file}"
    _check_name(signing_key, where)
    pem, permissions = _read(signing_key.file, where)
    _check_permissions(permissions, signing_key, mode, where)
    return LoadedKey(key_id=signing_key.key_id, team_id=signing_key.team_id, private_key=_private_key(pem, where))


def _check_name(signing_key: SigningKey, where: str) -> None:
    named = _APPLES_NAME.fullmatch(signing_key.file.name)
    if named and named[1] != signing_key.key_id:
        raise SigningError(f"{where}: is named as the key {named[1]}; write [keys.{named[1]}], or name the right file")


def _read(file: Path, where: str) -> tuple[bytes, int]:
    """Return the content and the permission bits of the very file that was read."""
    try:
        with open(file, "rb", opener=_open_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            pem = stream.read(MAX_FILE_BYTES) if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError as exc:
        raise SigningError(f"{where}: there is no such file; copy the .p8 from Apple there, then chmod 600") from exc
    except OSError as exc:
        raise SigningError(f"{where}: cannot be read ({exc.strerror}); name the .p8 itself") from exc
    if pem is None:
        raise SigningError(f"{where}: is not a regular file; name the .p8 itself")
    return pem, stat.S_IMODE(status.st_mode)


def _open_without_waiting(file: str, flags: int) -> int:
    """Open a file; a pipe in its place cannot hang the start by waiting for a writer."""
    return os.open(file, flags | os.O_NONBLOCK)


def _check_permissions(permissions: int, signing_key: SigningKey, mode: Mode, where: str) -> None:
    mend = f"chmod 600 {signing_key.file} (a Kubernetes secret volume: defaultMode: 0400)"
    if permissions & WRITABLE_BY_OTHERS:
        raise SigningError(f"{where}: others may write to it (mode {permissions:04o}); {mend}")
    if not permissions & READABLE_BY_OTHERS:
        return
    if mode is Mode.PRODUCTION:
        raise SigningError(f"{where}: others may read it (mode {permissions:04o}); {mend}")
    log.warning(
        "signing_key_readable_by_others",
        key_id=signing_key.key_id,
        file=str(signing_key.file),
        permissions=f"{permissions:04o}",
        mend=mend,
    )


def _private_key(pem: bytes, where: str) -> EllipticCurvePrivateKey:
    if not pem.lstrip().startswith(PKCS8_HEADER):
        expected = PKCS8_HEADER.decode()
        raise SigningError(f"{where}: is not an unencrypted PKCS#8 key; Apple's .p8 begins with {expected}")
    try:
        private_key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise SigningError(f"{where}: the PKCS#8 key is damaged; download the .p8 again") from exc
    if not isinstance(private_key, EllipticCurvePrivateKey) or not isinstance(private_key.curve, SECP256R1):
        raise SigningError(f"{where}: is not a key on the curve P-256; use the .p8 that Apple made for APNs")
    return private_key
