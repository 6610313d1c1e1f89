"""`vitrine models` and `monitor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, say, table
from vitrine.cli.outputs import label_bars
from vitrine.cli.session import Json, command, connect
from vitrine.errors import Misuse
from vitrine.references import parse_reference

if TYPE_CHECKING:
    from vitrine.results import Monitoring, Version


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for function in (models, monitor):
        command(app)(function)


def models(
    model: Annotated[
        str | None, typer.Argument(metavar="[OWNER/MODEL]", help="List this model's versions.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    json_output: Json = False,
) -> None:
    """List models, or the versions of one model, newest first."""
    with connect() as client:
        if model is not None:
            if "@" in model:
                raise Misuse(
                    f"`{model}` is a version", advice=f"Write {model.split('@')[0]} for all versions."
                )
            ref = parse_reference(model)
            versions = client.versions(ref.owner, ref.name, limit)
            print_json(versions.document()) if json_output else _show_versions(versions.items)
            return
        page = client.models(limit)
    if json_output:
        print_json(page.document())
        return
    rows = [
        [
            f"{one.owner}/{one.name}",
            str(one.last_number or "-"),
            formats.ago(one.created_at),
            one.description or "",
        ]
        for one in page.items
    ]
    table(
        ("MODEL", "VERSIONS", "CREATED", "DESCRIPTION"), rows, "No models: vitrine push DIR", frozenset({1})
    )


def monitor(
    ref: Annotated[str, typer.Argument(metavar="REF", help="owner/model@version.")],
    *,
    json_output: Json = False,
) -> None:
    """Show what the last runs of a version were like: outcomes, latency, predictions."""
    with connect() as client:
        found = client.monitor(parse_reference(ref))
    print_json(found.document()) if json_output else _show_monitoring(found)


def _show_versions(versions: tuple[Version, ...]) -> None:
    rows = [
        [
            one.reference,
            one.state,
            formats.short_digest(one.digest),
            str(one.file_count),
            formats.size(one.total_bytes),
            formats.ago(one.created_at),
        ]
        for one in versions
    ]
    columns = ("VERSION", "STATE", "DIGEST", "FILES", "SIZE", "CREATED")
    table(columns, rows, "No versions: vitrine push DIR", frozenset({3, 4}))


def _show_monitoring(found: Monitoring) -> None:
    count = found.window.get("runs", 0)
    if not count:
        note(f"{found.version} has not been run.")
        return
    outcomes = ", ".join(f"{number} {state}" for state, number in found.outcomes.items() if number)
    say(f"{found.version}: the last {count} runs, {outcomes}; {found.cold_starts} cold starts")
    reasons = ", ".join(
        f"{number} {reason.replace('_', ' ')}" for reason, number in found.reasons.items() if number
    )
    if reasons:
        say(f"Not well because of: {reasons}")
    say()
    rows = [
        [name, *(formats.milliseconds(values.get(part)) for part in ("p50", "p95", "p99"))]
        for name, values in found.latency_ms.items()
    ]
    table(("LATENCY", "P50", "P95", "P99"), rows, "", frozenset({1, 2, 3}))
    for output, counts in found.predictions.items():
        total = sum(counts.values()) or 1
        ranked = sorted(counts.items(), key=lambda pair: -pair[1])
        say(f"\n{output}")
        for line in label_bars([{"label": name, "score": number / total} for name, number in ranked]):
            say("  " + formats.harmless(line))
