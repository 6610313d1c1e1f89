"""`vitrine run`, `runs`, `logs` and `cancel`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrine.cli import formats, outputs, progress
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.doors import open_door
from vitrine.cli.session import FAILED, Json, command, connect
from vitrine.cli.streaming import Streamed
from vitrine.cli.values import fit_inputs, parse_inputs
from vitrine.errors import ClientError, Misuse
from vitrine.references import Reference, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitrine.client import Client
    from vitrine.results import Output, Run, Trial
    from vitrine.runs import Runs

_LOOK_BACK = 200


def register(app: typer.Typer) -> None:
    """Add the runs' commands to `app`."""
    for function in (run, runs, logs, cancel):
        command(app)(function)


def run(
    target: Annotated[str, typer.Argument(metavar="REF|LINK", help="owner/model@version, or a share link.")],
    *,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "-i", "--input", metavar="KEY=VALUE", help="An input; KEY=@PATH sends a file (repeatable)."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Save the outputs in this directory.")
    ] = None,
    passcode: Annotated[
        str | None,
        typer.Option(metavar="CODE", envvar="VITRINE_PASSCODE", help="Of a restricted link."),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Have a code for a restricted link sent there."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end of the run.")] = True,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An address that is told when this run has ended (not of a link)."),
    ] = None,
    webhook_event: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT", help="What it is told of: started, output or finished (repeatable)."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Run a version or a share link, and show or save the outputs. A link needs no account."""
    what, values = parse_target(target), parse_inputs(given or ())
    with connect() as client:
        if isinstance(what, Reference):
            place = client.runs_of_account
            inputs = fit_inputs(values, client.version(what).inputs if values else ())
            started = client.submit(what, inputs, webhook=webhook, webhook_events=webhook_event or ())
            if started.webhook_secret and not json_output:
                note(f"Messages to the webhook are signed with {started.webhook_secret}")
        elif webhook or webhook_event:
            raise Misuse(
                "A run by a link has no webhook",
                advice="Run the model: vitrine run OWNER/MODEL@VERSION",
            )
        else:
            shared = client.shared(what)
            open_door(shared, passcode, email, ask=not json_output)
            place = shared.runs
            started = shared.run(fit_inputs(values, shared.describe().inputs if values else ()))
        if not wait:
            _show_started(started, json_output=json_output)
            return
        finish(place, started, output_dir, json_output=json_output)


def finish(place: Runs, started: Run, output_dir: Path | None, *, json_output: bool) -> None:
    """Follow a run to its end and show it; raises typer.Exit when it did not end well."""
    ended, left = (started, started.outputs) if started.final else _followed(place, started, json_output)
    saved = outputs.save(place, ended, output_dir) if output_dir and ended.succeeded else {}
    if json_output:
        shown = {name: [str(path) for path in paths] for name, paths in saved.items()}
        print_json({**ended.document(), **({"saved": shown} if output_dir else {})})
    elif ended.succeeded:
        outputs.show(ended, saved, left)
        note(_timing(ended), "dim")
    else:
        _show_failure(ended)
    if not ended.succeeded:
        raise typer.Exit(FAILED)


def runs(
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", help="Only those of this version.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    json_output: Json = False,
) -> None:
    """List runs, newest first."""
    with connect() as client:
        page = client.runs(ref, limit)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            formats.short_id(one.id),
            one.version or "-",
            one.state,
            one.reason or "",
            formats.milliseconds(one.timings.get("total_ms")),
            formats.ago(one.created_at),
        ]
        for one in page.items
    ]
    table(
        ("ID", "VERSION", "STATE", "REASON", "TOOK", "CREATED"),
        rows,
        "No runs: vitrine run REF",
        frozenset({4}),
    )


def logs(
    identifier: Annotated[
        str, typer.Argument(metavar="RUN", help="A run or a training, by its id or its end.")
    ],
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the end.")] = False,
    json_output: Json = False,
) -> None:
    """Show what a run or a training printed."""
    with connect() as client:
        work = find_work(client, identifier)
        is_trial = work.id.startswith("trial_")
        if follow and not work.final:
            with progress.steps(work.state.capitalize()) as shown:
                heard = lambda event: progress.work_step(shown, event)  # noqa: E731 - one line for both
                work = client.trained(work.id, heard) if is_trial else client.wait(work.id, heard)
            if json_output:
                print_json({"id": work.id, "state": work.state, "log": work.log_tail or ""})
            return
        log = client.trial_log(work.id).decode("utf-8", "replace") if is_trial else work.log_tail or ""
    if json_output:
        print_json({"id": work.id, "state": work.state, "log": log})
    elif log:
        say(formats.harmless(log).rstrip("\n"))
    else:
        note(f"{work.id} is {work.state} and has printed nothing{'' if work.final else ' yet'}.")


def cancel(
    identifier: Annotated[
        str, typer.Argument(metavar="RUN", help="A run or a training, by its id or its end.")
    ],
    *,
    json_output: Json = False,
) -> None:
    """Stop a run or a training."""
    with connect() as client:
        work = find_work(client, identifier)
        if not work.final:
            stop = client.cancel_trial if work.id.startswith("trial_") else client.cancel
            work = stop(work.id)
            words = f"{work.id} is being stopped." if not work.final else f"{work.id} is {work.state}."
        else:
            words = f"{work.id} had ended already: {work.state}."
    print_json(work.document()) if json_output else say(words)


def find_work(client: Client, identifier: str) -> Run | Trial:
    """Return a run or training by its id, or by the end of a recent one's. Raises Misuse and ClientError."""
    if identifier.startswith("run_"):
        return client.get_run(identifier)
    if identifier.startswith("trial_"):
        return client.trial(identifier)
    if len(identifier) < 4:
        raise Misuse(f"`{identifier}` is too short", advice="Give the id as `vitrine runs` shows it.")
    recent: list[Run | Trial] = [*client.runs(limit=_LOOK_BACK).items, *client.trials(limit=_LOOK_BACK).items]
    found = [one for one in recent if one.id.endswith(identifier)]
    if len(found) != 1:
        words = "is not the end of a run's or training's id" if not found else "is the end of several ids"
        raise ClientError(
            f"`{identifier}` {words}", advice="`vitrine runs` and `vitrine experiments` list them."
        )
    return found[0]


def _followed(place: Runs, started: Run, quiet: bool) -> tuple[Run, Sequence[Output]]:
    """Wait for the end, printing text that streams unless `quiet`; return what is left to show, too."""
    with progress.steps(f"Run {formats.short_id(started.id)} is {started.state}") as shown:
        streamed = Streamed(shown)
        heard = (lambda event: progress.work_step(shown, event, with_log=False)) if quiet else streamed.hear
        try:
            ended = place.wait(started.id, heard)
        except KeyboardInterrupt:
            note(f"The run goes on: vitrine logs {started.id} -f, or vitrine cancel {started.id}")
            raise
    return ended, ended.outputs if quiet else streamed.rest(ended)


def _show_started(started: Run, *, json_output: bool) -> None:
    if json_output:
        print_json(started.document())
        return
    say(started.id)
    note(f"It is {started.state}: vitrine logs {formats.short_id(started.id)} -f")


def _show_failure(ended: Run) -> None:
    for line in formats.harmless(ended.log_tail or "").strip().splitlines()[-20:]:
        note(f"  | {line}", "dim")
    reason = f" ({ended.reason.replace('_', ' ')})" if ended.reason else ""
    words = formats.harmless(ended.message or "") or "no reason was given"
    note(f"error: the run {ended.state}{reason}: {words}", "red")


def _timing(ended: Run) -> str:
    timings: dict[str, Any] = ended.timings
    start = "cold" if ended.cold else "warm"
    if ended.attempt > 1:
        start += f"; begun {ended.attempt} times: a worker stopped"
    took, computed = timings.get("total_ms"), timings.get("compute_ms")
    return f"{formats.milliseconds(took)} ({start}; the model {formats.milliseconds(computed)})  {ended.id}"
