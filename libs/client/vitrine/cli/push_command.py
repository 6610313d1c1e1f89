"""`vitrine push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.cli import formats, progress
from vitrine.cli.console import note, print_json, say
from vitrine.cli.session import FAILED, Json, command, connect

if TYPE_CHECKING:
    from vitrine.results import Version


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app)(push)


def push(
    path: Annotated[Path, typer.Argument(help="Directory, .zip, .tar.gz or .onnx file.")] = Path(),
    *,
    name: Annotated[str | None, typer.Option(help="Push as this model instead of the file's `name`.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Choose package versions anew, as the index has them now.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the build to its end.")] = True,
    json_output: Json = False,
) -> None:
    """Upload what the platform lacks, build, and print the version's reference and digest."""
    with connect() as client:
        with progress.PushProgress() as watch:
            version = client.push(path, model=name, refresh=refresh, watch=watch)
        for message in version.warnings:
            note(f"warning: {formats.harmless(message)}", "yellow")
        if wait and version.state == "building":
            with progress.steps(f"Building {version.reference}") as shown:
                version = client.built(version, lambda event: progress.build_step(shown, event))
    if json_output:
        print_json(version.document())
    else:
        _show(version)
    if version.state == "build_failed":
        raise typer.Exit(FAILED)


def _show(version: Version) -> None:
    if version.state == "build_failed":
        _show_problem(version)
        return
    say(f"{version.reference}  {version.digest}")
    if version.state == "ready":
        note(f"Ready. Try it:   vitrine run {version.reference}{_example(version)}")
        note(f"       Share it: vitrine share {version.reference}")
    else:
        note(f"It is {version.state}; `vitrine models` shows when it is ready.")


def _show_problem(version: Version) -> None:
    problem = version.build_problem
    if problem is not None:
        for line in formats.harmless(problem.log_tail).strip().splitlines()[-15:]:
            note(f"  | {line}", "dim")
        if problem.culprit and problem.culprit not in problem.message:
            note(f"{formats.harmless(problem.culprit)}:")
    words = formats.harmless(problem.message) if problem else "no reason was given"
    note(f"error: {version.reference} could not be built: {words}", "red")


def _example(version: Version) -> str:
    """Return the inputs that a person has to write."""
    needed = [
        one for one in version.inputs if one.get("default") is None and one.get("required") is not False
    ]
    return "".join(
        f" -i {one['name']}={'@FILE' if one.get('type') in {'image', 'file'} else 'VALUE'}" for one in needed
    )
