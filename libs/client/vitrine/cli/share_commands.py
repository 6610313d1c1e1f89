"""`vitrine share`, `links` and `revoke`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import Json, command, connect
from vitrine.errors import ClientError
from vitrine.references import parse_reference


class Access(StrEnum):
    """Who may open a link."""

    LINK = "link"
    PUBLIC = "public"


def register(app: typer.Typer) -> None:
    """Add the links' commands to `app`."""
    for function in (share, links, revoke):
        command(app)(function)


def share(
    ref: Annotated[str, typer.Argument(metavar="REF", help="owner/model@version.")],
    *,
    access: Annotated[
        Access, typer.Option(help="Whoever has the link, or listed for everybody.")
    ] = Access.LINK,
    expires: Annotated[str | None, typer.Option(help="When the link ends, such as 14d.")] = None,
    max_runs: Annotated[int | None, typer.Option(min=1, help="How many runs it is good for.")] = None,
    label: Annotated[str | None, typer.Option(help="A note for yourself.")] = None,
    json_output: Json = False,
) -> None:
    """Make a link: whoever has it runs the version in a browser, without an account."""
    with connect() as client:
        made = client.share(
            parse_reference(ref), access=access.value, expires=expires, max_runs=max_runs, label=label
        )
    if json_output:
        print_json(made.document())
        return
    ends = f"expires {formats.ago(made.expires_at)}" if made.expires_at else "does not expire"
    runs = f", {made.max_runs} runs" if made.max_runs else ""
    note(f"{made.version or ref} {formats.short_digest(made.version_digest)}: {ends}{runs}. Shown only once:")
    say(made.url or "")


def links(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    json_output: Json = False,
) -> None:
    """List share links, newest first."""
    with connect() as client:
        page = client.links(limit)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            formats.short_id(one.id),
            one.version or formats.short_digest(one.version_digest),
            one.state,
            one.access,
            f"{one.runs_used}/{one.max_runs}" if one.max_runs else str(one.runs_used),
            formats.ago(one.expires_at) if one.expires_at else "never",
            one.label or "",
        ]
        for one in page.items
    ]
    columns = ("ID", "VERSION", "STATE", "ACCESS", "RUNS", "EXPIRES", "LABEL")
    table(columns, rows, "No links: vitrine share REF", frozenset({4}))


def revoke(
    link: Annotated[
        str, typer.Argument(metavar="LINK", help="The link's id or its end (see `vitrine links`).")
    ],
    *,
    json_output: Json = False,
) -> None:
    """Make a link worthless at once; its runs are stopped."""
    with connect() as client:
        found = [one for one in client.links(200).items if one.id == link or one.id.endswith(link)]
        if len(found) > 1:
            raise ClientError(f"`{link}` is the end of several ids", advice="Give more of it.")
        link_id = found[0].id if found else link
        client.revoke(link_id)
    print_json({"revoked": link_id}) if json_output else say(f"Revoked {link_id}.")
