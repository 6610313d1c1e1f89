"""The page `docs/reference/cli.md`: `python -m vitrine.cli.reference` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from vitrine.cli.app import app

_HEAD = """# The command line

Every command takes `--json`, which prints exactly one JSON document on stdout; progress goes to stderr.
`--debug` shows where an error comes from. The exit status is 0 when all went well, 1 when something
failed, 2 when the command itself was wrong, and 130 after Ctrl-C.

Where the command line is logged in stands in `~/.config/vitrine/config.json` (`VITRINE_CONFIG_DIR` names
another directory); `VITRINE_URL` and `VITRINE_TOKEN` come before the file. `NO_COLOR` is respected.

A version is written `owner/model@version`, where version is a number, `latest` or the beginning of a digest.
Runs, trainings, links and tokens are named by their ids or by the end of them that lists show.

This page is written by `python -m vitrine.cli.reference`.
"""


def page() -> str:
    """Return the whole page."""
    group: Any = typer.main.get_command(app)
    sections = [_command(name, found) for name, found in _commands(group) if not found.hidden]
    return "\n".join([_HEAD, *sections])


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command with its whole name, those of groups included."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, f"{prefix}{name} ")
        else:
            yield prefix + name, found


def _command(name: str, found: Any) -> str:
    context = typer.Context(found, info_name=f"vitrine {name}")
    usage = " ".join([f"vitrine {name}", *found.collect_usage_pieces(context)])
    records = [one for one in (_record(context, parameter) for parameter in found.get_params(context)) if one]
    rows = [f"| `{term}` | {text} |" for term, text in records]
    table = ["", "| | |", "|---|---|", *rows] if rows else []
    words = "\n\n".join(part.replace("\n", " ") for part in (found.help or "").strip().split("\n\n"))
    return "\n".join([f"## vitrine {name}", "", words, "", "```", usage, "```", *table, ""])


def _record(context: typer.Context, parameter: Any) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    if record is None or "--help" in parameter.opts:
        return None
    term, text = record
    clean = " ".join(str(text).split()).replace("|", "\\|")
    return term.strip().replace("|", "\\|"), clean


if __name__ == "__main__":
    sys.stdout.write(page())
