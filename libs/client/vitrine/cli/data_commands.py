"""`vitrine data push`, `ls` and `show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitrine.cli import formats, progress
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import Json, command, connect
from vitrine.errors import Misuse
from vitrine.references import Reference, parse_reference

_FILES = 50


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    data = typer.Typer(
        name="data",
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Keep datasets that claims are checked on.",
    )
    command(data)(push)
    command(data)(ls)
    command(data)(show)
    app.add_typer(data)


def push(
    path: Annotated[Path, typer.Argument(help="A directory or a file.")],
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the dataset.")],
    private: Annotated[
        bool, typer.Option("--private", help="Show those who check a claim on it nothing but its name.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Upload what the platform lacks, and print the dataset's reference and digest."""
    with connect() as client, progress.PushProgress() as watch:
        dataset = client.push_dataset(path, name, private=private, watch=watch)
    if json_output:
        print_json(dataset.document())
        return
    say(f"{dataset.reference}  {dataset.digest}")
    note(f"Name it in a claim:   dataset: {dataset.name}@{dataset.number}")
    note(f"  or for ever alike:  dataset: {dataset.name}@{dataset.digest}")


def ls(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    json_output: Json = False,
) -> None:
    """List datasets, newest first."""
    with connect() as client:
        page = client.datasets(limit)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            one.reference,
            formats.short_digest(one.digest),
            str(one.file_count),
            formats.size(one.total_bytes),
            "private" if one.private else "",
            formats.ago(one.created_at),
        ]
        for one in page.items
    ]
    columns = ("DATASET", "DIGEST", "FILES", "SIZE", "", "PUSHED")
    table(columns, rows, "No datasets: vitrine data push DIR --name NAME", frozenset({2, 3}))


def show(
    ref: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="owner/name@version, or only a name.")],
    *,
    json_output: Json = False,
) -> None:
    """Show a dataset and its files."""
    with connect() as client:
        if "/" not in ref:
            ref = f"{client.whoami().name}/{ref}"
        try:
            parsed = parse_reference(ref)
        except Misuse:
            raise Misuse(
                f"`{ref}` is not a dataset", advice="Write name@version, as `vitrine data ls` does."
            ) from None
        dataset = client.dataset(parsed)
    if json_output:
        print_json(dataset.document())
        return
    say(f"{dataset.reference}  {dataset.digest}")
    what = f"{dataset.file_count} file{'s' if dataset.file_count != 1 else ''}"
    note(f"{what}, {formats.size(dataset.total_bytes)}{', private' if dataset.private else ''}")
    rows = [
        [str(one["path"]), formats.size(one["size"]), formats.short_digest(one["digest"])]
        for one in dataset.files
    ]
    table(("PATH", "SIZE", "DIGEST"), rows[:_FILES], "", frozenset({1}))
    if len(rows) > _FILES:
        note(f"… and {len(rows) - _FILES} more; --json lists all of them")


def _parsed(ref: str) -> Reference:
    try:
        return parse_reference(ref)
    except Misuse:
        advice = "Write name@version, as `vitrine data ls` does."
        raise Misuse(f"`{ref}` is not a dataset", advice=advice) from None
