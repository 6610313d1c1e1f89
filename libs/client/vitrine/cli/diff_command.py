"""`vitrine diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import print_json, say
from vitrine.cli.session import Json, command, connect
from vitrine.references import parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vitrine.diffs import ClaimChange, Diff, FileChange

Ref = Annotated[str, typer.Argument(metavar="REF", help="A version: owner/model@version.")]
_MARKS = {
    "added": ("A", "green"),
    "removed": ("D", "red"),
    "moved": ("R", "cyan"),
    "changed": ("M", "yellow"),
}
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app)(diff)


def diff(
    before: Ref,
    after: Ref,
    *,
    stat: Annotated[bool, typer.Option("--stat", help="Name the files only, without their lines.")] = False,
    json_output: Json = False,
) -> None:
    """Show how the second version differs from the first: files, specification, packages, metrics, claims."""
    with connect() as client:
        found = client.diff(parse_reference(before), parse_reference(after))
    if json_output:
        print_json(found.document())
        return
    if found.same:
        say(f"{found.before} and {found.after} are the same.")
        return
    _show(found, with_lines=not stat)


def _show(found: Diff, *, with_lines: bool) -> None:
    for one in found.files:
        _show_file(one, with_lines=with_lines)
    if found.file_changes > len(found.files):
        say(f"and {found.file_changes - len(found.files)} files more")
    packages = list(found.environment.packages) if found.environment else []
    _show_values("vitrine.yaml", ((one.name, one.before, one.after) for one in found.spec))
    _show_values("Packages", ((one.name, one.before, one.after) for one in packages))
    _show_values("Metrics", ((one.name, one.before, one.after) for one in found.metrics))
    _show_values("Claims", ((one.name, *_claim_words(one)) for one in found.claims))


def _show_file(one: FileChange, *, with_lines: bool) -> None:
    mark, style = _MARKS.get(one.kind, ("?", ""))
    came = f" (was {formats.harmless(one.moved_from)})" if one.moved_from else ""
    sizes = [formats.size(size) for size in (one.size_before, one.size_after) if size is not None]
    note = f", {one.note}" if one.note and with_lines else ""
    say(f"{mark} {formats.harmless(one.path)}{came}  {' → '.join(dict.fromkeys(sizes))}{note}", style)
    for line in (one.lines or ()) if with_lines else ():
        say(f"  {formats.harmless(line)}", _STYLES.get(line[:1], ""))


def _show_values(title: str, changes: Iterable[tuple[str, str | None, str | None]]) -> None:
    listed = list(changes)
    if listed:
        say(title)
    for name, before, after in listed:
        told = formats.harmless(name)
        if before is None:
            say(f"  + {told} {formats.harmless(after or '')}", "green")
        elif after is None:
            say(f"  - {told} {formats.harmless(before)}", "red")
        else:
            say(f"  ~ {told} {formats.harmless(before)} → {formats.harmless(after)}")


def _claim_words(one: ClaimChange) -> tuple[str | None, str | None]:
    return (
        _side(one.expected_before, one.measured_before, one.verdict_before),
        _side(one.expected_after, one.measured_after, one.verdict_after),
    )


def _side(expected: float | None, measured: float | None, verdict: str | None) -> str | None:
    if expected is None:
        return None
    return f"{expected:g}" + (f" (measured {measured:g}, {verdict})" if measured is not None else "")
