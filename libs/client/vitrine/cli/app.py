"""The `vitrine` command."""

from __future__ import annotations

import typer

from vitrine.cli import stack_commands

app = typer.Typer(
    name="vitrine",
    help="Turn a trained model plus its source into a link.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
stack_commands.register(app)


def main() -> None:
    """Run the command line."""
    app()
