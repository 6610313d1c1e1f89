"""What is printed: results on stdout, everything else on stderr; colours only for people."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from vitrine.errors import ClientError

STATE_STYLES = {
    **dict.fromkeys(("ready", "succeeded", "reproduced", "active", "healthy"), "green"),
    **dict.fromkeys(("build_failed", "failed", "revoked"), "red"),
    **dict.fromkeys(("cancelled", "expired", "used_up", "differs"), "yellow"),
    **dict.fromkeys(("queued", "starting", "running", "saving", "building", "preparing"), "cyan"),
}
_WIDE = 1000


def console(stream: IO[str] | None = None) -> Console:
    """Return a console on `stream`, stdout without one. A pipe gets lines of any width, and no colour."""
    from rich.console import Console  # late: most of the time `--help` takes would be this import

    stream = stream or sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "", style: str = "") -> None:
    """Print a line of the result."""
    _line(sys.stdout, text, style)


def note(text: str = "", style: str = "") -> None:
    """Print a line beside the result."""
    _line(sys.stderr, text, style)


def fits(line: str) -> bool:
    """Tell whether a line of the result fits on the terminal; a pipe takes lines of any width."""
    return not sys.stdout.isatty() or len(line) <= shutil.get_terminal_size().columns


def print_json(value: Any) -> None:
    """Print the one JSON document of a command."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str, right: frozenset[int] = frozenset()
) -> None:
    """Print aligned columns, states in their colours; `empty` says what to do when there is nothing."""
    if not rows:
        note(empty)
        return
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, name in enumerate(columns):
        shown.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    _trimmed(shown)


def error(problem: ClientError, *, as_json: bool) -> None:
    """Print an expected error: its details, what went wrong, what to do."""
    if as_json:
        print_json(problem.document())
        return
    for fault in problem.faults:
        if str(fault) != problem.message and fault.message != problem.message:
            note(str(fault))
    note(f"error: {problem.message}", "red")
    if problem.advice:
        note(problem.advice)


def coloured(stream: IO[str]) -> bool:
    """Tell whether colours are wanted (see no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _line(stream: IO[str], text: str, style: str) -> None:
    if style and coloured(stream):
        console(stream).print(text, style=style)
    else:
        stream.write(text + "\n")
    stream.flush()


def _trimmed(shown: Any) -> None:
    """Print a table without the blanks that fill up its last column."""
    if sys.stdout.isatty():
        console().print(shown, soft_wrap=False)
        return
    inner = console()
    with inner.capture() as captured:
        inner.print(shown, soft_wrap=False)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))
