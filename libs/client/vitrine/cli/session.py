"""What every command has: `--json`, errors that say what to do, exit codes (0 ok, 1 failed, 2 usage)."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrine.errors import ClientError, Misuse

if TYPE_CHECKING:
    from vitrine.client import Client

DEBUG = "VITRINE_DEBUG"
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
FAILED = 1
USAGE = 2
INTERRUPTED = 130


def connect() -> Client:
    """Return a client of the platform that the command line is logged in to."""
    from vitrine.client import Client  # late: httpx and pydantic are for commands that call

    return Client()


def command(
    app: typer.Typer, name: str | None = None, **options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose expected errors are printed instead of raised."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, **options)(reporting(function))
        return function

    return register


def reporting(function: Callable[..., None]) -> Callable[..., None]:
    """Return `function` with expected errors printed; `--debug` shows where they come from."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except ClientError as problem:
            if os.environ.get(DEBUG):
                raise
            from vitrine.cli import console

            console.error(problem, as_json=bool(kwargs.get("json_output")))
            raise typer.Exit(USAGE if isinstance(problem, Misuse) else FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return wrapper
