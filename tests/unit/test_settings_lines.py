"""The line of everything in a TOML file is found again."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.settings_lines import TomlLines, TomlPath, syntax_problem

DOCUMENT = '''# a comment with [brackets] and key = "value"
title = "first"

[keys.KEYID12345]  # after the header
team_id = "TEAMID1234"
text = """
[apps."not.a.table"]
key = 1
"""
list = [
  "a",  # ]
  "b",
]

[ apps . "com.example.app" ]
key = "KEYID12345"
inline = { a = 1, b = { c = 2 } }
dotted.name = 3

[[array]]
x = 1
[later.inner]
[later]
y = 1
'''


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("title",), 2),
        (("keys", "KEYID12345"), 4),
        (("keys",), 4),
        (("keys", "KEYID12345", "team_id"), 5),
        (("keys", "KEYID12345", "text"), 6),
        (("keys", "KEYID12345", "list"), 10),
        (("apps", "com.example.app"), 15),
        (("apps", "com.example.app", "key"), 16),
        (("apps", "com.example.app", "inline", "b", "c"), 17),
        (("apps", "com.example.app", "dotted", "name"), 18),
        (("array", 0, "x"), 20),
        (("array", "x"), 21),
        (("later", "inner"), 22),
        (("later",), 23),
        (("later", "y"), 24),
        (("apps", "com.example.app", "missing"), 15),
        (("apps", "not.a.table"), 15),
        (("nowhere",), 1),
        ((), 1),
    ],
)
def test_tables_and_keys_are_found_on_their_lines(path: TomlPath, expected: int) -> None:
    """What is written is found where it is written, what is missing at the table around it."""
    assert expected == TomlLines(DOCUMENT).line_of(path)


def test_windows_line_ends_count_as_lines() -> None:
    """A file saved on Windows has the same lines."""
    assert TomlLines(DOCUMENT.replace("\n", "\r\n")).line_of(("later", "y")) == 24


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=8)
values = st.sampled_from(["1", '"x"', '"""\n[x]\n"""', "[\n1,\n]", "'''\n'''"])


@given(tables=st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=4))
def test_every_key_of_any_document_is_found(tables: dict[str, dict[str, str]]) -> None:
    """Whatever the names and however many lines a value takes, each key's line begins with it."""
    text = ""
    for table, keys in tables.items():
        text += f'["{table}"]\n' + "".join(f'"{key}" = {value}\n' for key, value in keys.items())
    parsed: dict[str, Any] = tomllib.loads(text)
    lines = TomlLines(text)
    for table, keys in parsed.items():
        assert text.split("\n")[lines.line_of((table,)) - 1] == f'["{table}"]'
        for key in keys:
            assert text.split("\n")[lines.line_of((table, key)) - 1].startswith(f'"{key}" = ')


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = = 2\n", 2), ("a = 1\na = 2\n", 2), ("a = 1\nb = [\n", 3), ('a = """', 1)]
)
def test_a_syntax_error_is_placed_once(text: str, line: int) -> None:
    """The line is taken out of the parser's message, which keeps the reason."""
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    found, reason = syntax_problem(caught.value, text)
    assert line == found
    assert reason
    assert "(at " not in reason
