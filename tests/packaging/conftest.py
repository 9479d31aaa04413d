"""What the container image would hold, made on this machine by the Dockerfile's own instructions."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction of a Dockerfile, without its options."""

    name: str
    argument: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a container of the image would find.

    Attributes:
        instructions: All of them, in order.
        wheel: What was built and installed.
        programs: Folder of the installed programs.
        environment: What ENV sets, without PATH.
    """

    instructions: tuple[Instruction, ...]
    wheel: Path
    programs: Path
    environment: Mapping[str, str]

    def argument(self, name: str) -> str:
        """Return what the last instruction of a name says: the one that counts."""
        return [instruction.argument for instruction in self.instructions if instruction.name == name][-1]

    def command(self, name: str) -> list[str]:
        """Return the words of a command in exec form, its program as an absolute path."""
        program, *arguments = json.loads(self.argument(name).removeprefix("CMD "))
        return [str(self.programs / program), *arguments]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Follow the Dockerfile into an empty environment, its absolute folders moved below a temporary one."""
    folder = tmp_path_factory.mktemp("image")
    instructions = tuple(_instructions((ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")))
    for instruction in _build_stage(instructions):
        if instruction.name == "RUN":
            _run(_moved(instruction.argument, folder), folder / "src")
        if instruction.name == "COPY":
            _copy(instruction.argument.split(), folder / "src")
    (wheel,) = (folder / "dist").glob("*.whl")
    assignments = [shlex.split(instruction.argument) for instruction in instructions if instruction.name == "ENV"]
    environment = dict(word.split("=", 1) for words in assignments for word in words if not word.startswith("PATH="))
    programs = folder / "opt/apns-dispatcher/bin"
    return Image(instructions=instructions, wheel=wheel, programs=programs, environment=environment)


def _instructions(dockerfile: str) -> Iterator[Instruction]:
    lines = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if line.strip():
            name, argument = line.split(maxsplit=1)
            yield Instruction(name=name, argument=re.sub(r"^(--\S+\s+)*", "", argument))


def _build_stage(instructions: Sequence[Instruction]) -> Iterator[Instruction]:
    first, *rest = instructions
    assert first.name == "FROM"
    return takewhile(lambda instruction: instruction.name != "FROM", rest)


def _moved(line: str, folder: Path) -> str:
    moved = re.sub(r"(?<![\w./])/(?=dist\b|opt\b)", f"{folder}/", line)
    return re.sub(r"(?<!/)\bpython (?=-m)", f"{sys.executable} ", moved)


def _copy(words: list[str], source: Path) -> None:
    *names, target = words
    for name in names:
        copied = source / (name if target == "./" else target)
        copied.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copied, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copied)


def _run(line: str, folder: Path) -> None:
    done = subprocess.run(["/bin/sh", "-euc", line], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
