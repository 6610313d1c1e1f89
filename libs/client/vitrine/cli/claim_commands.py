"""`vitrine reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.cli import formats, progress
from vitrine.cli.console import note, print_json, table
from vitrine.cli.session import FAILED, Json, command, connect
from vitrine.errors import ClientError, Misuse
from vitrine.references import parse_target

if TYPE_CHECKING:
    from vitrine.claims import Claims, Own
    from vitrine.results import Check, Claim
    from vitrine.sse import ServerEvent


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app)(reproduce)


def reproduce(
    target: Annotated[str, typer.Argument(metavar="REF|LINK", help="owner/model@version, or a share link.")],
    *,
    names: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME", help="Only this claim (repeatable); all without it."),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="FILE[=LABEL]",
            help="Add a file of your own to the claim's dataset (repeatable).",
        ),
    ] = None,
    receipts: Annotated[
        Path | None,
        typer.Option("--receipts", metavar="DIR", help="Save the signed receipts in this directory."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the verdicts.")] = True,
    json_output: Json = False,
) -> None:
    """Have the claims of a version or a share link checked, and show the verdicts. A link needs no account.

    Ends with status 1 unless every claim is reproduced.
    """
    own = [_own(text) for text in files or ()]
    with connect() as client:
        claims = client.claims(parse_target(target))
        wanted = _wanted(claims.list(), names or (), own)
        started = [claims.check(claim.name, own) for claim in wanted]
        checks = [_followed(claims, check) if wait else check for check in started]
        saved = _save(claims, checks, receipts) if receipts and wait else {}
    if json_output:
        print_json(
            {"checks": [check.document() for check in checks], **({"receipts": saved} if saved else {})}
        )
    else:
        _show(checks)
    if wait and not all(check.reproduced for check in checks):
        raise typer.Exit(FAILED)


def _own(text: str) -> Own:
    path, _, label = text.partition("=")
    if not Path(path).is_file():
        raise Misuse(f"{path} is no file", advice="Write --input FILE, or --input FILE=LABEL.")
    return Path(path), label


def _wanted(known: Sequence[Claim], names: Sequence[str], own: Sequence[Own]) -> list[Claim]:
    if not known:
        raise ClientError("This version claims nothing.", advice="Claims stand in vitrine.yaml: `claims:`.")
    unknown = set(names) - {claim.name for claim in known}
    if unknown:
        listed = ", ".join(claim.name for claim in known)
        raise Misuse(f"there is no claim `{min(unknown)}`", advice=f"The claims: {listed}")
    wanted = [claim for claim in known if claim.name in names or not names]
    if own and len(wanted) != 1:
        raise Misuse("--input needs one claim", advice="Name it: --claim NAME")
    return wanted


def _followed(claims: Claims, check: Check) -> Check:
    with progress.steps(f"{check.claim} is {check.state}") as shown:
        try:
            return claims.wait(check, lambda event: _step(shown, check.claim, event))
        except KeyboardInterrupt:
            note(f"The check {check.id} goes on.")
            raise


def _step(shown: progress.Steps, name: str, event: ServerEvent) -> None:
    news = event.json()
    if event.name == "state":
        ahead = news.get("ahead")
        shown.step(f"{name} is {news.get('state')}{f', {ahead} ahead' if ahead else ''}")
    elif event.name == "progress" and news.get("state") == "running":
        repeat, repeats = news.get("repeat") or 1, news.get("repeats") or 1
        shown.step(f"{name}: repeat {repeat} of {repeats}", repeat - 1, repeats)


def _save(claims: Claims, checks: Sequence[Check], directory: Path) -> dict[str, str]:
    directory.mkdir(parents=True, exist_ok=True)
    saved = {}
    for check in checks:
        if check.receipt_url:
            path = directory / f"{check.claim}-{check.id}.json"
            path.write_bytes(claims.receipt(check))
            saved[check.claim] = str(path)
    return saved


def _show(checks: Sequence[Check]) -> None:
    rows = [
        [
            check.claim,
            _verdict(check),
            _number(check.expected, check.unit),
            f"± {formats.number(check.tolerance)}",
            _number(check.measured, check.unit),
            formats.number(check.spread) if check.spread is not None else "-",
            f"{len(check.repeats)}/{check.repeats_wanted}",
            formats.milliseconds(check.duration_ms),
        ]
        for check in checks
    ]
    columns = ("CLAIM", "VERDICT", "CLAIMED", "TOLERANCE", "MEASURED", "SPREAD", "REPEATS", "TOOK")
    table(columns, rows, "", frozenset({2, 3, 4, 5, 6, 7}))
    for check in checks:
        if check.message and not check.reproduced:
            note(f"{check.claim}: {formats.harmless(check.message)}", "red")


def _verdict(check: Check) -> str:
    own = f" (with {check.own_inputs_count} own)" if check.own_inputs_count else ""
    return (check.verdict or check.state) + own


def _number(value: float | None, unit: str | None) -> str:
    return "-" if value is None else f"{formats.number(value)}{f' {unit}' if unit else ''}"
