"""`vitrine webhooks …` and `vitrine notifications`."""

from __future__ import annotations

from typing import Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import Json, command, connect

Id = Annotated[str, typer.Argument(metavar="ID", help="A webhook's id, as `vitrine webhooks list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    webhooks = typer.Typer(
        name="webhooks",
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Have programs of yours told of your news, signed.",
    )
    command(webhooks)(add)
    command(webhooks, "list")(list_webhooks)
    command(webhooks, "test")(send_test)
    command(webhooks)(log)
    command(webhooks)(secret)
    command(webhooks)(remove)
    app.add_typer(webhooks)
    command(app)(notifications)


def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="An address that takes POST requests.")],
    *,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Tell it of this only, such as claim.checked (repeatable)."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Have an address told; prints the secret that messages are signed with."""
    with connect() as client:
        made = client.news.add_webhook(url, kind or ())
    if json_output:
        print_json(made.document())
        return
    note(f"{made.id} is told of {', '.join(made.kinds) or 'everything'}. Its secret, shown only once:")
    say(made.secret or "")


def list_webhooks(*, json_output: Json = False) -> None:
    """List the webhooks."""
    with connect() as client:
        page = client.news.webhooks()
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            hook.id,
            hook.url,
            ", ".join(hook.kinds) or "everything",
            "on" if hook.active else f"off: {hook.problem}",
        ]
        for hook in page.items
    ]
    table(("WEBHOOK", "ADDRESS", "TOLD OF", "STATE"), rows, "No webhooks: vitrine webhooks add URL")


def send_test(webhook: Id, *, json_output: Json = False) -> None:
    """Send a message that says nothing but that it arrived."""
    with connect() as client:
        sent = client.news.test_webhook(webhook)
    if json_output:
        print_json(sent.document())
        return
    note(f"{sent.id} is on its way; see how it ends with: vitrine webhooks log {webhook}")


def log(webhook: Id, *, json_output: Json = False) -> None:
    """Show the last messages to a webhook and how they ended."""
    with connect() as client:
        page = client.news.deliveries(webhook)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            one.kind,
            one.state,
            str(one.tries),
            one.problem or str(one.status_code or ""),
            formats.ago(one.created_at),
        ]
        for one in page.items
    ]
    table(("KIND", "STATE", "TRIES", "ANSWER", "WHEN"), rows, f"No messages: vitrine webhooks test {webhook}")


def secret(webhook: Id, *, json_output: Json = False) -> None:
    """Make a new secret and print it; the one before stays good until you do so again."""
    with connect() as client:
        made = client.news.renew_secret(webhook)
    if json_output:
        print_json(made.document())
        return
    note("The new secret, shown only once:")
    say(made.secret or "")


def remove(webhook: Id, *, json_output: Json = False) -> None:
    """Remove a webhook."""
    with connect() as client:
        client.news.remove_webhook(webhook)
    if json_output:
        print_json({"id": webhook, "removed": True})
        return
    note(f"{webhook} is told of nothing any more.")


def notifications(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    json_output: Json = False,
) -> None:
    """List what you were told: builds, checked claims, links that end."""
    with connect() as client:
        page = client.news.notifications(limit)
    if json_output:
        print_json(page.document())
        return
    rows = [["•" if one.unread else "", one.title, formats.ago(one.created_at)] for one in page.items]
    table(("", "WHAT", "WHEN"), rows, "Nothing yet.")
