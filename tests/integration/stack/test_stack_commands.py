"""`vitrine up --detach`, `status`, `down`, servers that are given, and the first account."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from servers import S3Address, free_port
from stack_runs import StackRun, alive
from vitrine.cli import stack_commands
from vitrine.stack import control
from vitrine.stack.errors import AlreadyRunningError, StackError

Make = Callable[..., StackRun]


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    stack_commands.register(application)
    return application


@pytest.fixture
def detached(stack: Make, monkeypatch: pytest.MonkeyPatch) -> StackRun:
    run = stack(services=("one",))
    environment = run.environment
    monkeypatch.setattr(control, "supervisor_environment", lambda: environment)
    return run


def test_detached_stack_is_shown_and_stopped(detached: StackRun, app: typer.Typer) -> None:
    said = control.start_detached(detached.data, detached.arguments)
    pids = detached.pids()
    assert alive(said.pid)
    assert stat.S_IMODE(detached.data.stat().st_mode) == 0o700
    runner = CliRunner()

    shown = runner.invoke(app, ["status", "--data-dir", str(detached.data), "--json"])
    assert shown.exit_code == 0
    told = json.loads(shown.stdout)
    assert (told["state"], told["url"], told["parts"]["one"]["pid"]) == ("healthy", said.url, pids["one"])
    assert "password" not in json.dumps(told)
    assert json.loads((detached.data / "secrets.json").read_text())["nats_password"] not in shown.stdout

    with pytest.raises(AlreadyRunningError, match="vitrine down"):
        control.start_detached(detached.data, detached.arguments)

    stopped = runner.invoke(app, ["down", "--data-dir", str(detached.data), "--json"])
    assert json.loads(stopped.stdout)["stopped"] is True
    assert not alive(said.pid)
    assert not [name for name, pid in pids.items() if alive(pid)]

    again = runner.invoke(app, ["down", "--data-dir", str(detached.data)])
    assert (again.exit_code, again.stdout) == (0, f"Nothing was running on {detached.data}.\n")
    shown = runner.invoke(app, ["status", "--data-dir", str(detached.data)])
    assert shown.exit_code == 1
    assert shown.stdout.startswith("stopped\n")


def test_status_where_nothing_ever_ran(app: typer.Typer, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["status", "--data-dir", str(tmp_path / "none"), "--json"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["state"] == "stopped"
    assert not (tmp_path / "none").exists()


def test_detached_start_that_fails_says_why(detached: StackRun) -> None:
    detached.services = ("missing",)
    with pytest.raises(StackError, match=r"(?s)missing does not stay up.*No module named 'stand_missing'"):
        control.start_detached(detached.data, detached.arguments)
    assert control.stop_stack(detached.data) is False


def test_given_servers_are_used(stack: Make, nats_url: str, mongo_url: str, s3_address: S3Address) -> None:
    given = {
        "VITRINE_NATS_URL": nats_url,
        "VITRINE_MONGO_URL": mongo_url,
        "VITRINE_S3_ENDPOINT": s3_address.endpoint,
        "VITRINE_S3_ACCESS_KEY": s3_address.access_key,
        "VITRINE_S3_SECRET_KEY": s3_address.secret_key,
    }
    run = stack(services=("one",), extra=given)
    run.start()
    assert set(run.pids()) == {"one"}
    seen = run.seen("one")
    assert {key: seen[key] for key in given} == given


def test_a_given_server_that_does_not_answer_is_named(stack: Make) -> None:
    address = f"127.0.0.1:{free_port()}"
    errors = stack(services=("one",), extra={"VITRINE_NATS_URL": f"nats://{address}"}).refused()
    assert "The server of VITRINE_NATS_URL cannot be used" in errors
    errors = stack(services=("one",), extra={"VITRINE_S3_ENDPOINT": f"http://{address}"}).refused()
    assert "The server of VITRINE_S3_ENDPOINT cannot be used" in errors


def test_services_know_where_everything_is(stack: Make) -> None:
    run = stack(services=("runner",), extra={"PYTHONDONTWRITEBYTECODE": "1", "VITRINE_S3_REGION": "eu-x"})
    announced = run.start()
    seen, data = run.seen("runner"), str(run.data)
    assert seen["VITRINE_NATS_URL"] == run.state()["nats_url"]
    assert seen["VITRINE_MONGO_URL"] == run.state()["mongo_url"]
    assert seen["VITRINE_S3_PUBLIC_ENDPOINT"] == seen["VITRINE_S3_ENDPOINT"] == run.state()["s3_endpoint"]
    assert seen["VITRINE_S3_REGION"] == "eu-x"
    assert seen["VITRINE_ENVIRONMENTS_DIR"] == f"{data}/environments"
    assert seen["VITRINE_RUNNER_STATE_DIR"] == f"{data}/runner"
    assert seen["VITRINE_RUNNER_ENGINE"] == "auto"
    assert announced["url"] == f"http://127.0.0.1:{seen['VITRINE_API_PORT']}"
    assert "VITRINE_API_SECRET_KEY" not in seen, "only the api may sign"
    assert "PYTHONDONTWRITEBYTECODE" not in seen


def test_first_account_is_made_once(stack: Make) -> None:
    run = stack(services=("api",), options=("--first-account", "stand_account", "--email", "a@b.example"))
    announced = run.start()
    assert (announced["email"], announced["password"]) == ("a@b.example", "correct horse")
    assert announced["logged_in"] is True
    kept = run.data / "account.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["token"] == "vt_1"
    login = run.home / "config" / "config.json"
    assert json.loads(login.read_text()) == {"url": announced["url"], "token": "vt_1"}
    assert stat.S_IMODE(login.stat().st_mode) == 0o600
    assert "VITRINE_API_SECRET_KEY" in run.seen("api")

    run.close()
    announced = run.start()
    assert announced["password"] is None, "the password is shown once"
    assert (run.home / "calls").read_text() == "--email a@b.example\n"


def test_no_account_command_is_a_warning(stack: Make) -> None:
    announced = stack(services=("one",), options=("--first-account", "stand_nothing")).start()
    assert "No module named stand_nothing" in announced["warning"]
