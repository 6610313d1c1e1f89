"""`vitrine up`, `down` and `status`: the embedded stack on this machine."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.stack import control
from vitrine.stack.account import load_account
from vitrine.stack.errors import StackError
from vitrine.stack.settings import default_data_dir
from vitrine.stack.state import StackState

if TYPE_CHECKING:
    from vitrine.operator import Health

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the stack keeps everything; else ~/.local/share/vitrine."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class EngineChoice(StrEnum):
    """Where user code runs."""

    AUTO = "auto"
    PROCESS = "process"
    DOCKER = "docker"


def up(
    *,
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The web address's port.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    public_url: Annotated[
        str | None,
        typer.Option(help="How people reach it, such as https://models.example.org; printed in links."),
    ] = None,
    engine: Annotated[EngineChoice, typer.Option(help="Where models run.")] = EngineChoice.AUTO,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is healthy.")] = False,
    email: Annotated[str, typer.Option(help="E-mail of the first account.")] = "owner@vitrine.local",
    json_output: Json = False,
) -> None:
    """Start Vitrine on this machine: servers and services, until Ctrl-C or `vitrine down`."""
    if public_url is not None:
        os.environ["VITRINE_API_PUBLIC_URL"] = public_url  # the stack and its api inherit it
    folder = (data_dir or default_data_dir()).absolute()
    arguments = ["--data-dir", str(folder), "--host", host, "--engine", engine.value, "--email", email]
    if port is not None:
        arguments += ["--port", str(port)]
    if not detach:
        control.replace_process([*arguments, "--json"] if json_output else arguments)
        return
    try:
        said = control.start_detached(folder, arguments)
    except StackError as error:
        raise _failed(error, json_output) from None
    # Late: argparse and the supervisor's modules are wanted only here.
    from vitrine.stack.__main__ import announcement_text

    typer.echo(said.model_dump_json() if json_output else announcement_text(said))


def down(*, data_dir: DataDir = None, json_output: Json = False) -> None:
    """Stop Vitrine on this machine; its data stays."""
    folder = (data_dir or default_data_dir()).absolute()
    try:
        stopped = control.stop_stack(folder)
    except StackError as error:
        raise _failed(error, json_output) from None
    text = "Stopped." if stopped else f"Nothing was running on {folder}."
    typer.echo(json.dumps({"stopped": stopped, "data_dir": str(folder)}) if json_output else text)


def status(*, data_dir: DataDir = None, json_output: Json = False) -> None:
    """Show what runs and where it answers; the exit status is 0 when everything is healthy."""
    folder = (data_dir or default_data_dir()).absolute()
    state = control.stack_state(folder) or StackState(state="stopped")
    health = _health(state, folder)
    if json_output:
        # Server URLs hold a password: whoever may read it finds it in stack.json.
        shown = state.model_dump(exclude={"nats_url", "mongo_url"})
        told = health.document() if health else None
        typer.echo(
            json.dumps({"data_dir": str(folder), **shown, "health": told, "store": _store_size(folder)})
        )
    else:
        typer.echo(_status_text(state, folder, health))
    if state.state != "healthy":
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the stack's commands to `app`."""
    for command in (up, down, status):
        app.command()(command)


def _health(state: StackState, folder: Path) -> Health | None:
    """Return what the services tell of themselves, as the operator's page shows it; None without answer."""
    account = load_account(folder)
    if state.state != "healthy" or account is None:
        return None
    # Late: httpx is wanted only here.
    from vitrine.client import Client
    from vitrine.errors import ClientError

    try:
        with Client(state.url, account.token) as client:
            return client.operator.health()
    except ClientError:
        return None


def _status_text(state: StackState, folder: Path, health: Health | None) -> str:
    from vitrine.cli.runner_lines import runner_lines  # late, like the client
    from vitrine.operator import Runner

    lines = [f"{state.state}  {state.url if state.state != 'stopped' else ''}".rstrip()]
    for name, part in state.parts.items():
        restarts = f"  restarted {part.restarts}x" if part.restarts else ""
        process = f"process {part.pid}" if part.pid else ""
        lines.append(f"  {name:<8} {part.state:<8} {process}{restarts}".rstrip())
    for one in health.processes if health else ():
        said = f"version {one.version}" if one.answers else "does not answer"
        lines.append(f"  {one.service:<8} {said}  {one.holder}")
        isolation = one.report.get("isolation") or {}
        lines += [f"  {one.service:<8} warning: {text}" for text in isolation.get("warnings", ())]
        if one.service == "runner":
            told = Runner(holder=one.holder, answers=one.answers, report=one.report.get("runner"))
            lines += [f"  {one.service:<8} {line}" for line in runner_lines(told)]
    if (size := _store_size(folder)) is not None:
        counts = f"{size['environment_count']} environments, {size['layer_count']} layers"
        lines.append(f"Environments: {_gib(size['total'])} of {_gib(size['limit'])} GiB ({counts})")
    return "\n".join([*lines, f"Data and logs: {folder}"])


def _store_size(folder: Path) -> dict[str, int] | None:
    """Return how large the builder's store was when the builder last looked."""
    try:
        size = json.loads((folder / "environments" / ".builder" / "size.json").read_bytes())
    except (OSError, ValueError):
        return None
    return {str(name): int(value) for name, value in size.items()}


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"


def _failed(error: StackError, json_output: bool) -> typer.Exit:
    typer.echo(json.dumps({"error": str(error)}) if json_output else f"error: {error}", err=True)
    return typer.Exit(1)
