"""`vitrine train` and `experiments`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.cli import formats, progress
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.session import FAILED, Json, command, connect

if TYPE_CHECKING:
    from vitrine.client import Client
    from vitrine.results import Trial


def register(app: typer.Typer) -> None:
    """Add the training's commands to `app`."""
    for function in (train, experiments):
        command(app)(function)


def train(
    path: Annotated[
        Path, typer.Argument(help="Directory with a `train:` section in its vitrine.yaml.")
    ] = Path(),
    *,
    name: Annotated[
        str | None, typer.Option(help="Register as this model instead of the file's `name`.")
    ] = None,
    register_version: Annotated[
        bool, typer.Option("--register/--no-register", help="Register the result as a version.")
    ] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the training to its end.")] = True,
    json_output: Json = False,
) -> None:
    """Train on the platform: upload what it lacks, follow metrics and log, register the result."""
    with connect() as client:
        with progress.PushProgress() as watch:
            trial = client.train(path, model=name, register=register_version, watch=watch)
        if not wait:
            _show_started(trial, json_output=json_output)
            return
        trial = _followed(client, trial)
    if json_output:
        print_json(trial.document())
    elif trial.succeeded:
        _show_end(trial)
    else:
        _show_failure(trial)
    if not trial.succeeded:
        raise typer.Exit(FAILED)


def experiments(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    json_output: Json = False,
) -> None:
    """List trainings, newest first, with their last metrics."""
    with connect() as client:
        page = client.trials(limit)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            formats.short_id(one.id),
            f"{one.owner}/{one.model}" if one.owner and one.model else "-",
            one.state,
            _metrics(one),
            one.version or "",
            _took(one),
            formats.ago(one.created_at),
        ]
        for one in page.items
    ]
    columns = ("ID", "MODEL", "STATE", "METRICS", "VERSION", "TOOK", "CREATED")
    table(columns, rows, "No trainings: vitrine train DIR", frozenset({5}))


def _followed(client: Client, trial: Trial) -> Trial:
    with progress.steps(f"Training {formats.short_id(trial.id)} is {trial.state}") as shown:
        try:
            return client.trained(trial, lambda event: progress.work_step(shown, event))
        except KeyboardInterrupt:
            note(f"The training goes on: vitrine logs {trial.id} -f, or vitrine cancel {trial.id}")
            raise


def _show_started(trial: Trial, *, json_output: bool) -> None:
    if json_output:
        print_json(trial.document())
        return
    say(trial.id)
    note(f"It is {trial.state}: vitrine logs {formats.short_id(trial.id)} -f")


def _show_end(trial: Trial) -> None:
    took = _took(trial)
    note(f"Trained{f' in {took}' if took else ''}: {_metrics(trial) or 'no metrics were logged'}")
    if trial.version:
        say(f"{trial.version}  {trial.version_digest or ''}".rstrip())
        note(f"Share it: vitrine share {trial.version}")
    else:
        say(trial.id)


def _show_failure(trial: Trial) -> None:
    for line in formats.harmless(trial.log_tail or "").strip().splitlines()[-20:]:
        note(f"  | {line}", "dim")
    reason = f" ({trial.reason.replace('_', ' ')})" if trial.reason else ""
    words = formats.harmless(trial.message or "") or "no reason was given"
    note(f"error: the training {trial.state}{reason}: {words}", "red")


def _metrics(trial: Trial) -> str:
    return "  ".join(f"{name} {formats.number(value)}" for name, value in trial.metrics.items())


def _took(trial: Trial) -> str:
    if trial.started_at is None or trial.finished_at is None:
        return ""
    return formats.seconds((trial.finished_at - trial.started_at).total_seconds())
