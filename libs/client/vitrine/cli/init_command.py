"""`vitrine init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitrine.cli.console import note, print_json, say
from vitrine.cli.session import Json, command
from vitrine.errors import BadBundle, Misuse

SPEC_NAMES = ("vitrine.yaml", "vitrine.yml", "vitrine.json")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app)(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Where the model is.")] = Path(),
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a vitrine.yaml that is there.")] = False,
    json_output: Json = False,
) -> None:
    """Look at a directory and write its vitrine.yaml. Its scripts are read, never run."""
    # Late: only this command needs the model of vitrine.yaml and its parser.
    from vitrine.detection import draft_directory
    from vitrine_common.spec import load_spec

    if not directory.is_dir():
        raise Misuse(f"{directory} is not a directory")
    there = next((directory / name for name in SPEC_NAMES if (directory / name).exists()), None)
    if there is not None and not force:
        raise BadBundle(f"{there} is there already", advice="`vitrine init --force` replaces it.")
    if there is not None and there.name != SPEC_NAMES[0]:
        raise BadBundle(f"{there} stands in the way", advice="Remove it, or rename it to vitrine.yaml.")
    draft = draft_directory(directory)
    spec = load_spec(draft.text)
    target = directory / SPEC_NAMES[0]
    target.write_text(draft.text, encoding="utf-8")
    inputs = [one.name for one in spec.effective_inputs()]
    if json_output:
        print_json({"file": str(target), "found": draft.found, "inputs": inputs, "notes": list(draft.notes)})
        return
    say(f"Wrote {target} for {draft.found}: {', '.join(inputs) or 'no inputs'}")
    for text in draft.notes:
        note(f"check: {text}", "yellow")
    note(f"Then: vitrine push {directory}")
