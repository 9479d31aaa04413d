"""A foreign package with the name of one of ours is refused, not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher._shadow import worker_folder

RAN = "the foreign one ran"
START_FLEET = "import sys; sys.argv = ['celery', *'-A workers worker -Q apns.alert'.split()]; import dispatcher"


@pytest.fixture(params=["workers.py", "workers/__init__.py"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write a foreign module, and in turn a foreign package, called workers."""
    return _write(tmp_path / request.param)


def test_import_refuses_foreign_workers(foreign: Path, tmp_path: Path, root: Path) -> None:
    """Importing ours names the file of the foreign one and the mend, and runs nothing of it."""
    done = _python("import dispatcher", tmp_path, root)
    assert done.returncode == 1
    assert (
        f"ShadowedPackageError: 'workers' is a package of apns-dispatcher, but here the name leads to {foreign}: rename"
        in (done.stderr)
    )
    assert RAN not in done.stdout


def test_import_refuses_foreign_workers_already_imported(foreign: Path, tmp_path: Path, root: Path) -> None:
    """A foreign one that came first is found out as well."""
    done = _python("import workers, dispatcher", tmp_path, root)
    assert done.returncode == 1
    assert f"leads to {foreign}" in done.stderr


def test_import_refuses_workers_made_at_run_time(root: Path) -> None:
    """A module put into place by hand, with no file to name, is refused too."""
    done = _python("import sys, types; sys.modules['workers'] = types.ModuleType('workers'); import dispatcher", root)
    assert done.returncode == 1
    assert "leads to a module made at run time" in done.stderr


def test_celery_command_refuses_foreign_workers_of_its_folder(foreign: Path, tmp_path: Path, root: Path) -> None:
    """Celery would look into its working directory later than we are imported: refused all the same, and for good."""
    done = _python(START_FLEET, root, folder=tmp_path)
    assert done.returncode == 1
    assert f"leads to {foreign}" in done.stderr
    assert "Traceback" not in done.stderr


def test_celery_command_starts_ours(tmp_path: Path, root: Path) -> None:
    """In a folder without a foreign one nothing is refused."""
    assert _python(START_FLEET, root, folder=tmp_path).returncode == 0


def test_plain_folder_is_no_package(tmp_path: Path, root: Path) -> None:
    """A folder called workers without an __init__.py gives way to ours, as Python itself does it."""
    (tmp_path / "workers").mkdir()
    assert _python("import dispatcher", tmp_path, root).returncode == 0


def test_workers_refuse_foreign_dispatcher(tmp_path: Path, root: Path) -> None:
    """Importing our workers names the file of a foreign dispatcher and the mend, and runs nothing of it."""
    foreign = _write(tmp_path / "dispatcher.py")
    done = _python("import workers", tmp_path, root)
    assert done.returncode == 1
    assert (
        f"ImportError: 'dispatcher' is a package of apns-dispatcher, but here the name leads to {foreign}: rename"
        in (done.stderr)
    )
    assert RAN not in done.stdout


@pytest.mark.parametrize(
    ("command_line", "folder"),
    [
        ("celery -A workers worker -Q apns.voip", "."),
        ("celery -q --app=workers worker --queues=apns.voip,apns.alert -c 20", "."),
        ("celery -Aworkers.app:app worker -Qapns.voip", "."),
        ("celery -A workers --workdir=/srv/fleet worker -Q apns.voip", "/srv/fleet"),
        ("celery -A shop worker -Q apns.voip", None),
        ("celery -A workers worker -Q mail", None),
        ("celery -A workers flower", None),
        ("celery worker -Q apns.voip -A", None),
        ("gunicorn shop.wsgi", None),
    ],
)
def test_worker_folder_of_command_line(command_line: str, folder: str | None) -> None:
    """Only a command line that starts workers of ours has a folder to check: --workdir or where it was typed."""
    expected = None if folder is None else str(Path(folder).resolve())
    assert worker_folder(command_line.split()) == expected


def _write(file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"print({RAN!r})", encoding="utf-8")
    return file


def _python(code: str, *search_path: Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search_path)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
