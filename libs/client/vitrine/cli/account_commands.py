"""`vitrine login`, `whoami`, `tokens`, `invite`, `delete` and `account`."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import Json, command, connect
from vitrine.config import Config, load_config, save_config
from vitrine.errors import Misuse


def register(app: typer.Typer) -> None:
    """Add the account's commands to `app`."""
    for function in (login, whoami, tokens, invite, delete):
        command(app)(function)
    account = typer.Typer(
        name="account", no_args_is_help=True, rich_markup_mode=None, help="Your account on the platform."
    )
    command(account, "delete")(delete_account)
    command(account, "export")(export_account)
    app.add_typer(account)


def login(
    *,
    url: Annotated[str | None, typer.Option(help="The platform's address.")] = None,
    email: Annotated[str | None, typer.Option(help="Your e-mail address.")] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Keep this API token instead of asking for a password; `-` reads stdin."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Log in to a platform; later commands use it.

    The password is asked for, or read from the first line of stdin when that is no terminal.
    """
    from vitrine.client import Client

    address = url or load_config().url
    if token is not None:
        given = sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 - `-` stands for stdin
        with Client(address, given) as client:
            account = client.whoami()
            save_config(Config(client.url, given))
        _logged_in(account.email, address, json_output=json_output)
        return
    with Client(address) as client:
        who = email or _ask("E-mail: ")
        found = client.login(who, _password(), label=f"command line on {platform.node() or 'a machine'}")
        save_config(Config(client.url, found.token))
    _logged_in(found.email, address, json_output=json_output)


def whoami(*, json_output: Json = False) -> None:
    """Show who is logged in, and where."""
    with connect() as client:
        account = client.whoami()
        if json_output:
            print_json({**account.document(), "url": client.url})
            return
        name = f"  {account.name}" if account.name else ""
        say(f"{account.email}{name}{'  (operator)' if account.operator else ''}")
        say(f"at {client.url}, may {', '.join(account.scopes) or 'nothing'}")
        for quota in account.quotas:
            say(f"{quota.title}: {_amount(quota.used, quota.unit)} of {_amount(quota.limit, quota.unit)}")


def tokens(
    *,
    new: Annotated[str | None, typer.Option("--new", metavar="LABEL", help="Make a token.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="What the new token may do: read, write, run (repeatable).")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long the new token is good, such as 90d.")] = None,
    revoke: Annotated[
        str | None, typer.Option("--revoke", metavar="ID", help="Make a token worthless.")
    ] = None,
    json_output: Json = False,
) -> None:
    """List the account's API tokens, make one, or revoke one."""
    if new is not None and revoke is not None:
        raise Misuse("--new and --revoke do not go together")
    with connect() as client:
        if new is not None:
            made = client.make_token(new, tuple(scope or ()), expires)
            if json_output:
                print_json(made.document())
                return
            note("Keep it now, it is not shown again:")
            say(made.token or "")
        elif revoke is not None:
            token_id = _full_id(revoke, [one.id for one in client.tokens().items])
            client.revoke_token(token_id)
            print_json({"revoked": token_id}) if json_output else say(f"Revoked {token_id}.")
        else:
            page = client.tokens()
            if json_output:
                print_json(page.document())
                return
            rows = [
                [
                    formats.short_id(one.id),
                    one.label,
                    ", ".join(one.scopes),
                    formats.ago(one.last_used_at),
                    formats.ago(one.expires_at) if one.expires_at else "never",
                ]
                for one in page.items
            ]
            table(("ID", "LABEL", "MAY", "USED", "EXPIRES"), rows, "No tokens: vitrine tokens --new LABEL")


def invite(
    email: Annotated[
        str | None, typer.Argument(help="Who it is for; without it, whoever has the code.")
    ] = None,
    *,
    expires: Annotated[str | None, typer.Option(help="How long it is good, such as 7d.")] = None,
    json_output: Json = False,
) -> None:
    """Invite somebody to make an account (operators only)."""
    with connect() as client:
        made = client.invite(email, expires)
    if json_output:
        print_json(made.document())
        return
    note(f"Send this to {email or 'whoever is to join'}; it expires {formats.ago(made.expires_at)}:")
    say(made.url or made.code or "")


def delete(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="`owner/model`, `owner/model@version`, a dataset, or a link's id."
        ),
    ],
    *,
    kind: Annotated[
        str | None, typer.Option(help="model, version, dataset or link; read from REF without it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the name once more.")] = False,
    json_output: Json = False,
) -> None:
    """Delete something for good, with everything that was done with it."""
    found = kind or _kind_of(reference)
    asked = f"This cannot be undone. Type {reference} to delete this {found}: "
    if not yes and _confirmation(asked) != reference:
        raise Misuse("Not deleted: the name does not match", advice="Write --yes where nobody can type")
    with connect() as client:
        made = client.delete(found, reference)
    print_json({"deletion": made}) if json_output else say(f"{reference} is being deleted ({made}).")


def export_account(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the archive is written.")
    ] = Path("vitrine-account.zip"),
    json_output: Json = False,
) -> None:
    """Write everything that you own into a ZIP file of JSON files."""
    with connect() as client:
        written = client.export_account(output)
    if json_output:
        print_json({"path": str(output), "bytes": written})
        return
    say(f"{output}  {formats.size(written)}")


def delete_account(*, json_output: Json = False) -> None:
    """Delete your account with everything it owns; asks for its name and password."""
    with connect() as client:
        name = _confirmation("This cannot be undone. Type your user name to delete everything you own: ")
        if not name:
            raise Misuse("Not deleted: no user name was typed", advice="Write it to stdin, in a line")
        client.delete_account(name, _password())
    print_json({"deleted": name}) if json_output else say("Your account is being deleted.")


def _kind_of(reference: str) -> str:
    if "/" not in reference:
        return "link"
    return "version" if "@" in reference else "model"


def _full_id(given: str, known: list[str]) -> str:
    found = [one for one in known if one == given or one.endswith(given)]
    return found[0] if len(found) == 1 else given


def _logged_in(email: str, url: str, *, json_output: bool) -> None:
    print_json({"email": email, "url": url}) if json_output else say(f"Logged in to {url} as {email}.")


def _amount(value: int, unit: str) -> str:
    match unit:
        case "bytes":
            return formats.size(value)
        case "seconds":
            return formats.seconds(value)
    return f"{value}"


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise Misuse("The e-mail address is missing", advice="Write --email you@example.org")
    return _line(prompt)


def _confirmation(prompt: str) -> str:
    """Return a typed line; programs write it to stdin, the password in the next line."""
    return _line(prompt if sys.stdin.isatty() else "")


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _password() -> str:
    if given := os.environ.get("VITRINE_PASSWORD"):
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    import getpass

    return getpass.getpass("Password: ", stream=sys.stderr)
