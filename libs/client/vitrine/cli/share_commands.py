"""`vitrine share`, `links` and `revoke`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import Json, command, connect
from vitrine.errors import ClientError, Misuse
from vitrine.references import parse_reference

if TYPE_CHECKING:
    from vitrine.client import Client
    from vitrine.results import Link


class Access(StrEnum):
    """Who may open a link."""

    LINK = "link"
    PUBLIC = "public"
    RESTRICTED = "restricted"


class Doing(StrEnum):
    """What `vitrine links` does."""

    LIST = "list"
    EDIT = "edit"
    UNBLIND = "unblind"


Expires = Annotated[str | None, typer.Option(help="When the link ends, such as 14d.")]
MaxRuns = Annotated[int | None, typer.Option(min=1, help="How many runs it is good for.")]
Rate = Annotated[str | None, typer.Option(metavar="N/h|N/d", help="Most runs in any hour or day.")]
MaxInput = Annotated[str | None, typer.Option(metavar="SIZE", help="Largest input, such as 10MB.")]
Embed = Annotated[
    list[str] | None,
    typer.Option(metavar="ORIGIN", help="A site that may embed it, * for any (repeatable)."),
]
Label = Annotated[str | None, typer.Option(help="A note for yourself.")]


def register(app: typer.Typer) -> None:
    """Add the links' commands to `app`."""
    for function in (share, links, revoke):
        command(app)(function)


def share(
    ref: Annotated[str, typer.Argument(metavar="REF", help="owner/model@version.")],
    *,
    access: Annotated[
        Access, typer.Option(help="Whoever has the link, listed for everybody, or those whom it lets in.")
    ] = Access.LINK,
    passcode: Annotated[bool, typer.Option("--passcode", help="Ask for a passcode that is made up.")] = False,
    with_passcode: Annotated[
        str | None,
        typer.Option(metavar="CODE", envvar="VITRINE_SHARE_PASSCODE", help="Ask for this passcode."),
    ] = None,
    email: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Let this address in, by a code that is mailed (repeatable)."),
    ] = None,
    expires: Expires = None,
    max_runs: MaxRuns = None,
    rate: Rate = None,
    max_input: MaxInput = None,
    recipient: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A link of its own for NAME (repeatable).")
    ] = None,
    embed: Embed = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide you from reviewers, and reviewers from you.")
    ] = False,
    label: Label = None,
    json_output: Json = False,
) -> None:
    """Make a link: whoever has it runs the version in a browser, without an account."""
    chosen: dict[str, Any] = {
        "access": access.value,
        "passcode": with_passcode or passcode,
        "emails": email,
        "expires": expires,
        "max_runs": max_runs,
        "rate": rate,
        "max_input": max_input,
        "embed": embed,
        "blind": blind,
        "label": label,
    }
    wishes = {name: value for name, value in chosen.items() if value}
    with connect() as client:
        made = client.share_with(parse_reference(ref), recipient or [], **wishes)
    if json_output:
        print_json({"items": [one.document() for one in made]} if recipient else made[0].document())
        return
    for warning in made[0].warnings:
        note(f"warning: {warning}", "yellow")
    if made[0].warnings:
        note("What you wrote for readers is shown as it is, on a blind link, too.")
    _show_made(ref, made)


def _show_made(ref: str, made: list[Link]) -> None:
    first = made[0]
    ends = f"expires {formats.ago(first.expires_at)}" if first.expires_at else "does not expire"
    runs = f", {first.max_runs} runs" if first.max_runs else ""
    digest = formats.short_digest(first.version_digest)
    note(f"{first.version or ref} {digest}: {ends}{runs}. Shown only once:")
    for link in made:
        say(f"{link.recipient}: {link.url}" if link.recipient else link.url or "")
        if link.passcode:
            note(f"Passcode{f' for {link.recipient}' if link.recipient else ''}: {link.passcode}")


def links(
    doing: Annotated[Doing, typer.Argument(metavar="[list|edit|unblind]", help="What to do.")] = Doing.LIST,
    link: Annotated[str, typer.Argument(metavar="[LINK]", help="A link's id or its end, to edit.")] = "",
    *,
    expires: Expires = None,
    max_runs: MaxRuns = None,
    rate: Rate = None,
    max_input: MaxInput = None,
    embed: Embed = None,
    label: Label = None,
    pause: Annotated[bool | None, typer.Option("--pause/--resume", help="Close it for a while.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    json_output: Json = False,
) -> None:
    """List share links, newest first; `edit LINK` alters one, `unblind LINK` shows whose it is, for good."""
    changes = {
        "expires": expires,
        "max_runs": max_runs,
        "rate": rate,
        "max_input": max_input,
        "embed": embed,
        "label": label,
        "paused": pause,
    }
    sent = {name: value for name, value in changes.items() if value is not None}
    with connect() as client:
        if doing is Doing.LIST:
            _list(client, limit, json_output=json_output)
            return
        if not link:
            raise Misuse(f"`vitrine links {doing}` needs a link", advice="`vitrine links` lists their ids.")
        if doing is Doing.EDIT and not sent:
            raise Misuse("nothing is to be altered", advice="Give for example --expires 14d or --pause.")
        link_id = _id_of(client, link)
        altered = client.unblind(link_id) if doing is Doing.UNBLIND else client.edit_link(link_id, **sent)
    print_json(altered.document()) if json_output else say(f"{altered.id} is {altered.state}.")


def _list(client: Client, limit: int, *, json_output: bool) -> None:
    page = client.links(limit)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            formats.short_id(one.id),
            one.version or formats.short_digest(one.version_digest),
            one.state,
            f"{one.access}, blind" if one.blind else one.access,
            f"{one.runs_used}/{one.max_runs}" if one.max_runs else str(one.runs_used),
            formats.ago(one.expires_at) if one.expires_at else "never",
            one.recipient or one.label or "",
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
        link_id = _id_of(client, link)
        client.revoke(link_id)
    print_json({"revoked": link_id}) if json_output else say(f"Revoked {link_id}.")


def _id_of(client: Client, link: str) -> str:
    """Return a link's id by its end. Raises ClientError when several end so."""
    found = [one for one in client.links(200).items if one.id == link or one.id.endswith(link)]
    if len(found) > 1:
        raise ClientError(f"`{link}` is the end of several ids", advice="Give more of it.")
    return found[0].id if found else link
