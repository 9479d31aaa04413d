"""Take the ACL file apart: every command, key pattern and channel pattern in it is one grant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.dev.users import Role
from tests.acl.recording import Words

_PERMISSION: Final = re.compile(r"\([^)]*\)|\S+")
#: What is the same for every user: it takes away, or is no permission.
_PREAMBLE: Final = ("on", "resetchannels", "-@all")
_TRIAL: Final = "trial"
_NUMBER: Final = re.compile(rb"[0-9a-f]{4,}|[\d.]+")
_SHOWN_BYTES: Final = 60
_ALLOWED: Final = b"OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One word of a user's permissions.

    Attributes:
        role: Whose.
        bracket: The words of the bracket it is in; only itself outside of one.
        word: The word.
    """

    role: Role
    bracket: tuple[str, ...]
    word: str

    def __str__(self) -> str:
        return f"{self.role}: {self.word} in ({' '.join(self.bracket)})"

    @property
    def rest(self) -> str:
        """What is left of the bracket without it; nothing if that permits nothing."""
        left = [word for word in self.bracket if word != self.word]
        is_useful = any(word.startswith("+") for word in left) and any(not word.startswith("+") for word in left)
        return f"({' '.join(left)})" if is_useful else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What a line of the ACL file permits to a user.

    Attributes:
        role: Who.
        brackets: In their order; a word outside of one is a bracket of one.
    """

    role: Role
    brackets: tuple[tuple[str, ...], ...]

    def grants(self) -> Iterator[Grant]:
        """Yield every grant."""
        for bracket in self.brackets:
            yield from (Grant(role=self.role, bracket=bracket, word=word) for word in bracket)

    def without(self, grant: Grant) -> list[str]:
        """Return the permissions, as ACL SETUSER takes them, without one."""
        return [
            grant.rest if bracket == grant.bracket else _spelled(bracket)
            for bracket in self.brackets
            if bracket != grant.bracket or grant.rest
        ]


def read_permissions(acl_file_text: str) -> dict[Role, Permissions]:
    """Return what the users of an ACL file may do; not those who may do everything or nothing."""
    found = {}
    for line in acl_file_text.splitlines():
        _, name, *words = _PERMISSION.findall(line)
        if "-@all" in words:
            given = [word for word in words if word not in _PREAMBLE and not word.startswith("#")]
            brackets = tuple(tuple(word.strip("()").split()) for word in given)
            found[Role(name)] = Permissions(role=Role(name), brackets=brackets)
    return found


def samples(sent: Iterable[tuple[Role, Words]]) -> dict[Role, list[Words]]:
    """Return one of each kind of command by role; numbers and ids make no difference."""
    kinds: dict[tuple[Role, Words], Words] = {}
    for role, words in sent:
        kind = tuple(_NUMBER.sub(b"#", word)[:_SHOWN_BYTES] for word in words)
        kinds.setdefault((role, kind), words)
    by_role: dict[Role, list[Words]] = {role: [] for role in Role}
    for (role, _), words in kinds.items():
        by_role[role].append(words)
    return by_role


def is_missed(admin: Any, permissions: Permissions, grant: Grant, commands: Sequence[Words]) -> bool:
    """Tell whether any of some commands would be refused to a user without one of its grants."""
    admin.execute_command("ACL", "SETUSER", _TRIAL, "reset", "on", "nopass", "-@all", *permissions.without(grant))
    concerned = {word.removeprefix("+").partition("|")[0] for word in grant.bracket}
    pipeline = admin.pipeline(transaction=False)
    for words in commands:
        if words[0].decode().lower() in concerned:
            pipeline.execute_command("ACL", "DRYRUN", _TRIAL, *words)
    return any(reply != _ALLOWED for reply in pipeline.execute(raise_on_error=False))


def is_permitted(admin: Any, user: str, words: Words) -> bool:
    """Tell whether a user may send a command."""
    return bool(admin.execute_command("ACL", "DRYRUN", user, *words) == _ALLOWED)


def _spelled(bracket: tuple[str, ...]) -> str:
    return bracket[0] if len(bracket) == 1 else f"({' '.join(bracket)})"
