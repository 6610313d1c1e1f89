"""The `vitrine` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vitrine.cli import (
    account_commands,
    claim_commands,
    data_commands,
    diff_command,
    env_commands,
    init_command,
    model_commands,
    news_commands,
    operator_commands,
    push_command,
    receipt_commands,
    run_commands,
    share_commands,
    stack_commands,
    train_commands,
    venue_commands,
)
from vitrine.cli.session import DEBUG

app = typer.Typer(
    name="vitrine",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: laying it out with rich would double the time that `vitrine --help` takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Turn a trained model plus its source into a link."""
    if debug:
        os.environ[DEBUG] = "1"
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("vitrine"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


for commands in (
    stack_commands,
    account_commands,
    init_command,
    push_command,
    run_commands,
    share_commands,
    claim_commands,
    data_commands,
    env_commands,
    model_commands,
    diff_command,
    train_commands,
    receipt_commands,
    news_commands,
    operator_commands,
    venue_commands,
):
    commands.register(app)
for found in app.registered_commands:
    if found.callback is not None:
        # The whole first sentence: without it, the list of commands cuts it off in the middle.
        found.short_help = (found.callback.__doc__ or "").split("\n")[0].rstrip(".")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. `--debug` counts wherever it stands before a `--`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = given[: given.index("--")] if "--" in given else given
    if "--debug" in words:
        given.remove("--debug")
        given.insert(0, "--debug")
    app(args=given, prog_name="vitrine")


if __name__ == "__main__":
    main()
