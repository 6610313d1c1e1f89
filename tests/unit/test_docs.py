"""What the documents say exists: commands and options, make targets, files, links, vitrine.yaml snippets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from vitrine.cli.app import app
from vitrine_common.spec import load_spec

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def shell_lines(page: Path) -> list[str]:
    blocks = [
        body for language, body in FENCE.findall(page.read_text()) if language in {"sh", "bash", "console"}
    ]
    lines = [
        line.split("  #")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()
    ]
    return [line for line in lines if line and not line.startswith("#")]


@each_page
def test_commands_parse(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[0] != "vitrine":
            continue
        command = group.commands.get(words[1])
        assert command is not None, f"{page.name}: there is no `vitrine {words[1]}`"
        context = command.context_class(command, info_name=words[1])
        command.make_parser(context).parse_args(words[2:])


@each_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[0] == "make":
            assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), line


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), (
            f"{page.relative_to(ROOT)} links to {target}, which is not there"
        )


def test_the_readmes_model_file_is_accepted() -> None:
    snippets = [
        body for language, body in FENCE.findall((ROOT / "README.md").read_text()) if language == "yaml"
    ]
    assert snippets
    for snippet in snippets:
        load_spec(snippet)


def test_every_page_is_reached_from_the_readme() -> None:
    seen, frontier = set[Path](), [ROOT / "README.md"]
    while frontier:
        page = frontier.pop()
        if page in seen:
            continue
        seen.add(page)
        found = [(page.parent / target).resolve() for target in LINK.findall(page.read_text())]
        frontier += [path for path in found if path.suffix == ".md" and path.exists()]
        frontier += [inner for path in found if path.is_dir() for inner in path.glob("*.md")]
    lost = [str(page.relative_to(ROOT)) for page in PAGES if page not in seen]
    assert not lost, f"no page links to {lost}"


def test_decisions_are_numbered_once() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(set(numbers)) == len(numbers), numbers
    assert all(page.read_text().startswith(f"# {page.name[:4]} ") for page in pages)
