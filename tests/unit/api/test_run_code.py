"""Runs as code: what is copied runs, whatever the input was."""

from __future__ import annotations

import ast
import shlex

import pytest

from vitrine_api.run_code import LONG, Target, command_line, curl, givens, python

LINK = Target("https://vitrine.example", "tok_en", has_passcode=False)
HOSTILE = [
    "plain",
    'it\'s "quoted" $HOME `id` \\',
    "line\nbreak; rm -rf /",
    "@file",
    "<file",
    "-x",
    "grüße ☃",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_every_value_arrives_as_it_was(text: str) -> None:
    given = givens({"text": text, "count": 3, "options": {"a": [text]}}, {})
    words = shlex.split(curl(LINK, given).replace("\\\n", ""))
    values = [words[at + 1] for at, word in enumerate(words) if word == "--form-string"]
    assert values[:2] == [f"input.text={text}", "input.count=3"]
    assert words[-1] == "https://vitrine.example/s/tok_en/v1/runs"
    typed = shlex.split(command_line(LINK, given).replace(" \\\n", " "))
    escaped = "@" + text if text.startswith("@") else text
    assert typed[:4] == ["vitrine", "run", "https://vitrine.example/s/tok_en", "-i"]
    assert typed[4] == f"text={escaped}"
    assigned = ast.parse(python(LINK, given)).body[1]
    assert isinstance(assigned, ast.Assign)
    assert ast.literal_eval(assigned.value) == {"text": text, "count": 3, "options": {"a": [text]}}


def test_files_are_named_and_long_texts_become_files() -> None:
    long = "x" * (LONG + 1)
    given = givens({"photo": {}, "story": long, "table": [long]}, {"photo": 'my;"photo".png'})
    assert '-F \'input.photo=@"my;\\"photo\\".png"\'' in curl(LINK, given)
    assert "-F 'input.story=<story.txt'" in curl(LINK, given)
    assert "-i story=@story.txt" in command_line(LINK, given)
    program = python(LINK, given)
    ast.parse(program)
    assert "'story': Path('story.txt').read_text()" in program
    assert "'table': json.loads(Path('table.json').read_text())" in program
    assert long not in program


def test_accounts_and_locked_links_are_told_what_they_need() -> None:
    owner = Target("https://vitrine.example", None, "ada/digits@3")
    assert "Authorization: Bearer $VITRINE_TOKEN" in curl(owner, [])
    assert "/v1/models/ada/digits@3/runs" in curl(owner, [])
    assert command_line(owner, []) == "vitrine run ada/digits@3"
    locked = Target("https://vitrine.example", "tok_en", has_passcode=True)
    assert '--passcode "$PASSCODE"' in command_line(locked, [])
    assert "X-Vitrine-Pass" in curl(locked, [])
    assert "unlock" in python(locked, [])
    for target in (owner, locked, LINK):
        ast.parse(python(target, []))
