"""`vitrine operator …`: what only operators may do."""

from __future__ import annotations

from typing import Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, table
from vitrine.cli.runner_lines import fleet_lines, worker_rows
from vitrine.cli.session import Json, command, connect

Number = Annotated[
    int,
    typer.Argument(metavar="NUMBER", min=1, help="As `vitrine operator dead-letters list` shows it."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    operator = typer.Typer(
        name="operator", no_args_is_help=True, rich_markup_mode=None, help="Look after the instance."
    )
    letters = typer.Typer(
        name="dead-letters",
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Messages that nobody could handle.",
    )
    command(operator)(health)
    command(operator)(runners)
    command(letters, "list")(list_letters)
    command(letters)(replay)
    command(letters)(drop)
    operator.add_typer(letters)
    app.add_typer(operator)


def health(*, json_output: Json = False) -> None:
    """Show which processes and servers answer; the exit status is 0 when all do."""
    with connect() as client:
        found = client.operator.health()
    well = not found.missing and all(server.get("ok") for server in found.servers.values())
    if json_output:
        print_json(found.document())
    else:
        rows = [
            [
                one.service,
                "answers" if one.answers else "silent",
                one.version,
                one.holder,
                formats.ago(one.started_at),
            ]
            for one in found.processes
        ]
        rows += [[name, "missing", "", "", ""] for name in found.missing]
        rows += [
            [name, "answers" if server.get("ok") else "silent", "", "", ""]
            for name, server in found.servers.items()
        ]
        table(("PART", "STATE", "VERSION", "PROCESS", "STARTED"), rows, "Nothing answers.")
        for one in found.processes:
            for warning in (one.report.get("isolation") or {}).get("warnings", ()):
                note(f"{one.service}: {formats.harmless(str(warning))}", "yellow")
    if not well:
        raise typer.Exit(1)


def runners(*, json_output: Json = False) -> None:
    """Show what every runner has at work, and what waits for them."""
    with connect() as client:
        fleet = client.operator.runners()
    if json_output:
        print_json(fleet.document())
        return
    columns = ("RUNNER", "VERSION", "STATE", "RUNS", "MEMORY")
    table(columns, worker_rows(fleet), "No runner was heard; runs wait until one starts.", frozenset({3}))
    for line in fleet_lines(fleet):
        note(line)


def list_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    after: Annotated[str | None, typer.Option(help="Number of the last one seen.")] = None,
    json_output: Json = False,
) -> None:
    """List messages that nobody could handle, the oldest first."""
    with connect() as client:
        page = client.operator.dead_letters(limit, after)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            str(one.number),
            formats.harmless(one.kind),
            ", ".join(f"{name}={formats.harmless(value)}" for name, value in one.about.items()),
            formats.harmless(one.reason),
            formats.ago(one.at),
        ]
        for one in page.items
    ]
    table(("NUMBER", "KIND", "ABOUT", "REASON", "WHEN"), rows, "No dead letters: every message was handled.")
    if page.next:
        note(f"More: vitrine operator dead-letters list --after {page.next}")


def replay(number: Number, *, json_output: Json = False) -> None:
    """Send a message again, once; it comes back under another number if it still cannot be handled."""
    with connect() as client:
        letter = client.operator.replay(number)
    if json_output:
        print_json(letter.document())
        return
    note(f"{number} was sent again to {formats.harmless(letter.subject)}.")


def drop(number: Number, *, json_output: Json = False) -> None:
    """Forget a message for good."""
    with connect() as client:
        client.operator.drop(number)
    if json_output:
        print_json({"number": number, "dropped": True})
        return
    note(f"{number} is gone.")
