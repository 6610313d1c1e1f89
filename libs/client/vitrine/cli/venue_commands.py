"""`vitrine venue …`: for chairs, and for authors who submit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import Json, command, connect
from vitrine.errors import Misuse

Id = Annotated[str, typer.Argument(metavar="VENUE", help="A venue's id, as `vitrine venue list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    venue = typer.Typer(
        name="venue",
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Collect versions until a deadline, have them reviewed blindly, decide.",
    )
    command(venue)(create)
    command(venue, "list")(list_venues)
    command(venue)(submit)
    command(venue)(roster)
    command(venue)(matrix)
    command(venue)(export)
    command(venue)(decide)
    command(venue)(close)
    app.add_typer(venue)


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What authors and reviewers read.")],
    deadline: Annotated[
        str, typer.Argument(metavar="DEADLINE", help="Such as 2026-12-01 or 2026-12-01T17:00.")
    ],
    *,
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="Such as Europe/Berlin, UTC or AoE.")
    ] = "UTC",
    open_names: Annotated[bool, typer.Option("--open", help="Reviewers learn who the authors are.")] = False,
    hidden_from_chair: Annotated[
        bool, typer.Option("--hidden-from-chair", help="Neither do you learn it until un-blinding.")
    ] = False,
    max_runs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Runs of a reviewer for a submission.")
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A line of the checklist that reviewers answer (repeatable)."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Make a venue; prints the address for authors."""
    wishes = {"manual": item} if item else {}
    with connect() as client:
        made = client.venues.create(
            name,
            deadline,
            time_zone=time_zone,
            blind=not open_names,
            hidden_from_chair=hidden_from_chair,
            max_runs=max_runs,
            **wishes,
        )
    if json_output:
        print_json(made.document())
        return
    note(f"{made.id} takes submissions until {made.deadline_text}. The address for authors:")
    say(made.submit_url)


def list_venues(*, json_output: Json = False) -> None:
    """List the venues that you chair."""
    with connect() as client:
        page = client.venues.all()
    if json_output:
        print_json(page.document())
        return
    rows = [
        [one.id, one.name, "takes submissions" if one.takes_submissions else one.state, one.deadline_text]
        for one in page.items
    ]
    table(("VENUE", "NAME", "STATE", "DEADLINE"), rows, "No venues: vitrine venue create NAME DEADLINE")


def submit(
    ref: Annotated[str, typer.Argument(metavar="REF", help="A version of yours: owner/model@version.")],
    link: Annotated[str, typer.Argument(metavar="LINK", help="The venue's address for authors.")],
    *,
    paper: Annotated[str, typer.Option(metavar="ID", help="The paper's id; the same again replaces it.")],
    title: Annotated[str, typer.Option(metavar="TEXT", help="The paper's title.")],
    conflict: Annotated[
        list[str] | None,
        typer.Option(metavar="WHO", help="An address or domain that must not review it (repeatable)."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Submit a version to a venue."""
    with connect() as client:
        done = client.venues.submit(ref, link, paper, title, conflict or ())
    if json_output:
        print_json(done.document())
        return
    note(f"Submission {done.number} to {done.venue}: {done.title}")
    for warning in done.warnings:
        note(f"This may tell who you are: {warning}")


def roster(
    venue: Id,
    *,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHO", help="`Name <address>; not: domain` (repeatable); - reads lines from stdin."
        ),
    ] = None,
    assign: Annotated[
        int | None, typer.Option(min=1, max=20, metavar="N", help="Give each submission N reviewers, evenly.")
    ] = None,
    remind: Annotated[bool, typer.Option("--remind", help="Mail those who have not finished.")] = False,
    json_output: Json = False,
) -> None:
    """Show, and change, who reviews for a venue."""
    with connect() as client:
        if add:
            lines = sys.stdin.read() if add == ["-"] else "\n".join(add)
            note(f"{len(client.venues.add_reviewers(venue, lines).items)} added and mailed.")
        if assign:
            done = client.venues.balance(venue, assign)
            short = ", ".join(f"submission {number}: {count}" for number, count in done["lacking"].items())
            note(
                f"{done['made']} reviews assigned."
                + (f" Too few without a conflict: {short}." if short else "")
            )
        if remind:
            note(f"{client.venues.remind(venue)} reminded.")
        found = client.venues.matrix(venue)
    if json_output:
        print_json({"items": [one.document() for one in found.reviewers]})
        return
    rows = [[one.name, one.email, f"{one.finished} of {one.assigned}", one.url] for one in found.reviewers]
    table(("NAME", "ADDRESS", "FINISHED", "PAGE"), rows, f"Nobody yet: vitrine venue roster {venue} --add …")


def matrix(
    venue: Id,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Run all on an example and check their claims, a few at a time.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Show submission by check."""
    with connect() as client:
        if check:
            note(f"{client.venues.check(venue)} checks are on the way.")
        found = client.venues.matrix(venue)
    if json_output:
        print_json(found.document())
        return
    rows = [
        [
            str(row.number),
            row.paper_id,
            row.id,
            *(one.words for one in row.checks),
            f"{row.finished} of {row.reviews}",
            row.decision or "-",
        ]
        for row in found.rows
    ]
    titles = [one.check.upper() for one in found.rows[0].checks] if found.rows else []
    table(("NO", "PAPER", "SUBMISSION", *titles, "REVIEWS", "DECISION"), rows, "Nothing submitted yet.")


def export(
    venue: Id,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to.")] = None,
    json_output: Json = False,
) -> None:
    """Write the matrix as CSV, to a file or to stdout."""
    with connect() as client:
        data = client.venues.export(venue)
    if output is not None:
        output.write_bytes(data)
        note(f"{output} is written.")
    if json_output:
        print_json({"venue": venue, "file": str(output) if output else None, "csv": data.decode("utf-8-sig")})
    elif output is None:
        say(data.decode("utf-8-sig").rstrip())


def decide(
    venue: Id,
    submission: Annotated[
        str | None, typer.Argument(metavar="[SUBMISSION]", help="Its id, as `vitrine venue matrix` shows it.")
    ] = None,
    decision: Annotated[str | None, typer.Argument(metavar="[DECISION]", help="Such as Accept.")] = None,
    *,
    message: Annotated[str, typer.Option("--note", metavar="TEXT", help="To the author.")] = "",
    publish: Annotated[bool, typer.Option("--publish", help="Tell every author; reviewing ends.")] = False,
    release: Annotated[
        bool, typer.Option("--release-reviews", help="With --publish: authors read finished reviews.")
    ] = False,
    unblind: Annotated[bool, typer.Option("--unblind", help="Show you the authors, for good.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="With --unblind: show reviewers, too.")] = False,
    json_output: Json = False,
) -> None:
    """Decide on a submission; with --publish tell authors, with --unblind end blindness."""
    if (submission is None) != (decision is None) or not (submission or publish or unblind):
        raise Misuse(
            "nothing to decide", advice="Name a submission and a decision, or --publish, or --unblind."
        )
    with connect() as client:
        if submission and decision:
            client.venues.decide(venue, submission, decision, message)
        if publish:
            client.venues.publish(venue, release_reviews=release)
        if unblind:
            client.venues.unblind(venue, reveal=reveal)
    if json_output:
        print_json({"venue": venue, "decision": decision, "published": publish, "unblinded": unblind})
        return
    done = [decision or "", "authors are told" if publish else "", "un-blinded" if unblind else ""]
    note(", ".join(one for one in done if one) + ".")


def close(venue: Id, *, json_output: Json = False) -> None:
    """End every page and link of a venue."""
    with connect() as client:
        done = client.venues.close(venue)
    if json_output:
        print_json(done.document())
        return
    note(f"{done.name} is closed.")
