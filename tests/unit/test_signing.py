"""Provider tokens have the same bytes wherever they are signed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dispatcher.errors import SigningError
from workers.key_files import LoadedKey
from workers.provider_token import MARGIN_S, WINDOW_S
from workers.signing import DeterministicES256, ProviderTokens, sign

#: The private number of RFC 6979 appendix A.2.5; a public example, no secret.
PRIVATE_NUMBER = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
ISSUED_AT = 1_800_000_000

#: What those make, forever: another byte would be another token to APNs, and half a fleet being upgraded would show it.
GOLDEN_JWT = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6IktFWUlEMTIzNDUifQ."
    "eyJpc3MiOiJURUFNSUQxMjM0IiwiaWF0IjoxODAwMDAwMDAwfQ."
    "cNtcxxVh8lFiNLBL8TIvePe2OoIO0wC81vMm2HmCb3pmjC01LzbJPq-xSbIieODeC8hXMFu3P0vtI6m-5YwDjw"
)

ROOT = Path(__file__).parents[2]
SIGN_ONCE = f"""
from cryptography.hazmat.primitives.asymmetric import ec
from workers.key_files import LoadedKey
from workers.signing import sign
private_key = ec.derive_private_key({PRIVATE_NUMBER}, ec.SECP256R1())
loaded_key = LoadedKey(key_id="KEYID12345", team_id="TEAMID1234", private_key=private_key)
print(sign(loaded_key, {ISSUED_AT}).jwt)
"""
IMPORT_WITHOUT = """
import sys

class Uninstalled:
    def find_spec(name, path=None, target=None):
        if name == {package!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Uninstalled)
import workers.signing
"""


def make_loaded_key(curve: ec.EllipticCurve | None = None) -> LoadedKey:
    """Make the key of the golden token, or one on another curve."""
    private_key = ec.derive_private_key(PRIVATE_NUMBER, curve or ec.SECP256R1())
    return LoadedKey(key_id="KEYID12345", team_id="TEAMID1234", private_key=private_key)


def run_python(source: str) -> subprocess.CompletedProcess[str]:
    """Run a program beside the packages."""
    command = [sys.executable, "-c", source]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_bytes_of_a_provider_token_are_pinned() -> None:
    """Header order, claim order, separators and the RFC 6979 signature never change."""
    assert sign(make_loaded_key(), ISSUED_AT).jwt == GOLDEN_JWT


def test_signatures_are_those_of_rfc_6979() -> None:
    """The RFC's own example for P-256 with SHA-256 and the message "sample" comes out."""
    r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    assert bytes.fromhex(r + s) == DeterministicES256().sign(b"sample", make_loaded_key().private_key)


def test_other_processes_sign_the_same_bytes() -> None:
    """Two processes that know nothing of each other show APNs one token."""
    assert [run_python(SIGN_ONCE).stdout for _ in range(2)] == [GOLDEN_JWT + "\n"] * 2


def test_the_token_holds_what_apple_asks_for_and_nothing_else() -> None:
    """The public key verifies it; header alg and kid, claims iss and iat."""
    public_key = make_loaded_key().private_key.public_key()
    token = sign(make_loaded_key(), ISSUED_AT)
    decoded = jwt.decode_complete(token.jwt, public_key, algorithms=["ES256"], options={"verify_iat": False})
    assert decoded["header"] == {"alg": "ES256", "kid": "KEYID12345"}
    assert decoded["payload"] == {"iss": "TEAMID1234", "iat": ISSUED_AT}
    assert (token.key_id, token.team_id, token.issued_at) == ("KEYID12345", "TEAMID1234", ISSUED_AT)


def test_pyjwt_itself_stays_random() -> None:
    """Our algorithm is on an object of ours: other users of PyJWT in the process are not touched."""
    private_key = make_loaded_key().private_key
    assert jwt.encode({"iat": 1}, private_key, "ES256") != jwt.encode({"iat": 1}, private_key, "ES256")


def test_a_key_on_another_curve_cannot_sign() -> None:
    """A P-384 key is refused by name, without a traceback of PyJWT's for the operator."""
    with pytest.raises(SigningError, match=r"\[keys\.KEYID12345\] cannot sign"):
        sign(make_loaded_key(ec.SECP384R1()), ISSUED_AT)


def test_a_process_signs_once_per_key_and_window() -> None:
    """Within a window the very same object is handed out; the next window's is another."""
    tokens = ProviderTokens({"KEYID12345": make_loaded_key()})
    first = tokens.current("KEYID12345", ISSUED_AT + MARGIN_S)
    assert first.issued_at == ISSUED_AT
    assert tokens.current("KEYID12345", ISSUED_AT + MARGIN_S + WINDOW_S - 1) is first
    assert tokens.current("KEYID12345", ISSUED_AT + MARGIN_S + WINDOW_S).issued_at == ISSUED_AT + WINDOW_S


def test_a_clock_that_steps_back_over_a_change_finds_the_token_still_signed() -> None:
    """The neighbour is kept, older ones are not."""
    tokens = ProviderTokens({"KEYID12345": make_loaded_key()})
    first, second = (tokens.current("KEYID12345", ISSUED_AT + MARGIN_S + n * WINDOW_S) for n in range(2))
    assert tokens.current("KEYID12345", ISSUED_AT + MARGIN_S) is first
    tokens.current("KEYID12345", ISSUED_AT + MARGIN_S + 2 * WINDOW_S)
    assert tokens.current("KEYID12345", ISSUED_AT + MARGIN_S + WINDOW_S) is second
    again = tokens.current("KEYID12345", ISSUED_AT + MARGIN_S)
    assert again == first
    assert again is not first


def test_a_key_that_is_not_configured_has_no_token() -> None:
    """The error names the table to write."""
    with pytest.raises(SigningError, match=r"\[keys\.KEYID99999\] is not configured"):
        ProviderTokens({"KEYID12345": make_loaded_key()}).current("KEYID99999", ISSUED_AT)


@pytest.mark.parametrize("package", ["jwt", "cryptography"])
def test_without_the_extra_the_error_names_the_line_that_installs_it(package: str) -> None:
    """Workers installed without PyJWT or cryptography say what to install."""
    finished = run_python(IMPORT_WITHOUT.format(package=package))
    assert "pip install 'apns-dispatcher[workers]'" in finished.stderr
    assert finished.returncode == 1
