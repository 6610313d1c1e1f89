"""The commands: what they print, and with which status they end."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import vitrine.client
from client_doubles import DIGEST, FakePlatform, events, problem, run, version
from vitrine.cli.app import main
from vitrine.cli.reference import page
from vitrine.config import config_path
from vitrine.transport import Patience

ROOT = Path(__file__).parents[3]
TOKEN = "a" * 22
REF_RUNS = "POST /api/v1/versions/ada/filter/1/runs"


@dataclass
class Said:
    """What a command printed, and its status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Type = Callable[..., Said]


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def command(
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Type:
    """Runs a command against the platform in memory."""
    bound = functools.partial(
        vitrine.client.Client,
        transport=httpx.MockTransport(platform.answer),
        store_client=lambda: httpx.Client(transport=httpx.MockTransport(platform.answer)),
        patience=Patience(pause=platform.pauses.append),
    )
    monkeypatch.setattr(vitrine.client, "Client", bound)
    monkeypatch.setenv("VITRINE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("VITRINE_URL", "http://platform.test")
    monkeypatch.setenv("VITRINE_TOKEN", "vt_secret")
    monkeypatch.delenv("VITRINE_DEBUG", raising=False)

    def typed(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return typed


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "vitrine.yaml").write_text("name: filter\nmodel: {command: python run.py}\n")
    (folder / "run.py").write_text("print('hello')\n")
    return folder


def test_push_prints_the_reference_and_the_digest(command: Type, model: Path) -> None:
    said = command("push", str(model))
    assert (said.status, said.out) == (0, f"ada/filter@1  {DIGEST}\n")
    assert "vitrine run ada/filter@1 -i image=@FILE" in said.err
    assert "\x1b" not in said.err
    again = command("push", str(model), "--json")
    assert again.json["reference"] == "ada/filter@1"
    assert "nothing to upload" in again.err


def test_push_follows_the_build(command: Type, platform: FakePlatform, model: Path) -> None:
    building = version(state="building")
    platform.routes["POST /api/v1/versions"] = lambda _: httpx.Response(201, json=building)
    platform.routes["GET /api/v1/versions/version_1/events"] = lambda _: events(
        ("state", building),
        ("progress", {"step": "download", "message": "Downloading numpy", "done": 1, "total": 2}),
        ("end", version()),
    )
    said = command("push", str(model))
    assert said.status == 0
    assert "Downloading numpy" in said.err
    assert command("push", str(model), "--no-wait", "--json").json["state"] == "building"


def test_a_failed_build_says_why(command: Type, platform: FakePlatform, model: Path) -> None:
    trouble = {
        "reason": "user_error",
        "message": "there is no numpy 99; write numpy==2.3",
        "culprit": "requirements.txt line 1",
        "log_tail": "No solution\n\x1b[31mred\x1b[0m",
    }
    failed = version(state="build_failed", build_problem=trouble)
    platform.routes["POST /api/v1/versions"] = lambda _: httpx.Response(201, json=failed)
    said = command("push", str(model))
    assert (said.status, said.out) == (1, "")
    assert "requirements.txt line 1" in said.err
    assert "  | red\n" in said.err
    assert "there is no numpy 99" in said.err
    as_json = command("push", str(model), "--json")
    assert (as_json.status, as_json.json["build_problem"]["culprit"]) == (1, "requirements.txt line 1")


def test_an_unknown_key_is_named_by_file_and_line(command: Type, model: Path) -> None:
    (model / "vitrine.yaml").write_text("name: filter\nmodel:\n  comand: python run.py\n")
    said = command("push", str(model))
    assert said.status == 1
    assert "vitrine.yaml:3: model.comand: is not a known key; did you mean `command`?" in said.err
    assert "nothing was uploaded" in said.err
    as_json = command("push", str(model), "--json")
    assert as_json.status == 1
    assert as_json.json["problems"][0]["line"] == 3


def test_run_shows_the_output(command: Type, platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(b"PNG")
    done = run(outputs=[{"name": "text", "type": "text", "value": "hello"}])
    platform.routes["GET /api/v1/versions/ada/filter/1"] = lambda _: httpx.Response(200, json=version())
    platform.routes[REF_RUNS] = lambda _: httpx.Response(202, json=run(state="queued", final=False))
    platform.routes[f"GET /api/v1/runs/{done['id']}/events"] = lambda _: events(
        ("state", run(state="running", final=False)), ("end", done)
    )
    said = command("run", "ada/filter@1", "-i", f"image=@{tmp_path / 'in.png'}")
    assert (said.status, said.out) == (0, "hello\n")
    assert "Running\n" in said.err
    assert "1.2 s (cold; the model 1.0 s)" in said.err
    detached = command("run", "ada/filter@1", "--no-wait")
    assert detached.out == f"{done['id']}\n"


def test_run_saves_files(command: Type, platform: FakePlatform, tmp_path: Path) -> None:
    file = {"name": "image", "type": "image", "url": "/api/v1/runs/r/outputs/image", "filename": "out.png"}
    platform.routes[REF_RUNS] = lambda _: httpx.Response(202, json=run(outputs=[file | {"size": 3}]))
    platform.routes["GET /api/v1/runs/r/outputs/image"] = lambda _: httpx.Response(200, content=b"PNG")
    said = command("run", "ada/filter@1", "-o", str(tmp_path / "out"), "--json")
    assert said.json["saved"] == {"image": [str(tmp_path / "out/out.png")]}
    assert (tmp_path / "out/out.png").read_bytes() == b"PNG"
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["out.png"]


def test_a_failed_run_shows_its_log_and_fails(command: Type, platform: FakePlatform) -> None:
    failed = run(state="failed", reason="out_of_memory", message="it needs more than 1 GB", log_tail="a\nb")
    platform.routes[REF_RUNS] = lambda _: httpx.Response(202, json=failed)
    said = command("run", "ada/filter@1")
    assert (said.status, said.out) == (1, "")
    assert said.err == "  | a\n  | b\nerror: the run failed (out of memory): it needs more than 1 GB\n"
    assert command("run", "ada/filter@1", "--json").status == 1


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("run", "filter"), 2, "neither a version nor a share link"),
        (("run", "ada/filter", "-i", "image"), 2, "`-i image` has no value"),
        (("run", "ada/nothing@1"), 1, "there is no"),
        (("push", "/nowhere"), 1, "does not exist"),
        (("share", "ada"), 2, "is not a version"),
        (("logs", "abc"), 2, "too short"),
        (("frobnicate",), 2, "No such command"),
        (("share", "ada/filter", "--access", "everyone"), 2, "everyone"),
        (("init", "/nowhere"), 2, "is not a directory"),
        (("tokens", "--new", "a", "--revoke", "b"), 2, "do not go together"),
    ],
)
def test_mistakes_are_named(command: Type, words: tuple[str, ...], status: int, text: str) -> None:
    said = command(*words)
    assert (said.status, said.out) == (status, "")
    assert text in said.err
    assert "Traceback" not in said.err


def test_a_revoked_link_is_gone(command: Type, platform: FakePlatform) -> None:
    platform.routes[f"POST /api/v1/links/{TOKEN}/runs"] = lambda _: problem(410, "this link was revoked")
    said = command("run", f"http://platform.test/s/{TOKEN}")
    assert (said.status, said.err) == (1, "error: this link was revoked\n")
    assert command("run", TOKEN, "--json").json == {
        "error": "this link was revoked",
        "problems": [],
        "status": 410,
        "request_id": "req-12345",
    }


def test_errors_by_input_are_listed(command: Type, platform: FakePlatform) -> None:
    errors = (("inputs.a", "`a` must be a number"), ("inputs.b", "`b` is missing"))
    platform.routes[REF_RUNS] = lambda _: problem(422, "2 inputs are wrong", *errors)
    said = command("run", "ada/filter@1")
    assert said.err.splitlines() == [
        "inputs.a: `a` must be a number",
        "inputs.b: `b` is missing",
        "error: 2 inputs are wrong",
    ]


def test_nobody_is_logged_in(command: Type, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRINE_TOKEN")
    platform.routes["GET /api/v1/whoami"] = lambda _: problem(401, "log in first")
    said = command("whoami")
    assert (said.status, said.err) == (1, "error: log in first\nLog in: vitrine login\n")


def test_debug_shows_where_an_error_comes_from(command: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DEBUG", "")
    with pytest.raises(vitrine.errors.BadBundle):
        main(["push", "/nowhere", "--debug"])


def test_login_keeps_the_token(
    command: Type, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITRINE_PASSWORD", "secret")

    def login(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if body["password"] != "secret":
            return problem(401, "e-mail or password is wrong")
        return httpx.Response(200, json={"token": "vt_new", "token_id": "t", "email": body["email"]})

    platform.routes["POST /api/v1/login"] = login
    said = command("login", "--url", "http://lab.test/", "--email", "ada@lab.test")
    assert said.status == 0
    kept = json.loads(config_path().read_text())
    assert kept == {"url": "http://lab.test", "token": "vt_new"}
    monkeypatch.setenv("VITRINE_PASSWORD", "wrong")
    said = command("login", "--email", "ada@lab.test")
    assert (said.status, "password is wrong" in said.err) == (1, True)
    assert json.loads(config_path().read_text()) == kept


def test_share_prints_only_the_link(command: Type, platform: FakePlatform) -> None:
    made = {"id": "link_1", "url": f"http://platform.test/s/{TOKEN}", "token": TOKEN, "max_runs": 5}
    platform.routes["POST /api/v1/links"] = lambda _: httpx.Response(201, json=made)
    said = command("share", "ada/filter@1", "--expires", "14d", "--max-runs", "5", "--label", "review")
    assert said.out == f"http://platform.test/s/{TOKEN}\n"
    assert json.loads(platform.requests[-1].content) == {
        "ref": "ada/filter@1",
        "access": "link",
        "expires": "14d",
        "max_runs": 5,
        "label": "review",
    }


def test_lists_are_aligned_and_short_ids_are_taken(command: Type, platform: FakePlatform) -> None:
    one, other = run(), run(id="run_01jzzzzzzzzzzzzzzzzzzzzzzz", state="running", final=False)
    platform.routes["GET /api/v1/runs"] = lambda _: httpx.Response(200, json={"items": [one, other]})
    platform.routes["GET /api/v1/trials"] = lambda _: httpx.Response(200, json={"items": []})
    platform.routes[f"POST /api/v1/runs/{other['id']}/cancel"] = lambda _: httpx.Response(
        202, json=other | {"state": "cancelled"}
    )
    lines = command("runs").out.splitlines()
    assert lines[0].split() == ["ID", "VERSION", "STATE", "REASON", "TOOK", "CREATED"]
    assert lines[1].index("ada/filter@1") == lines[2].index("ada/filter@1")
    short = lines[2].split()[0]
    assert command("cancel", short, "--json").json["state"] == "cancelled"
    assert command("cancel", "00000000").status == 1
    assert command("runs", "--json").json["items"][0]["id"] == one["id"]


def test_an_empty_list_says_what_to_do(command: Type, platform: FakePlatform) -> None:
    for path in ("runs", "models", "links", "trials", "tokens"):
        platform.routes[f"GET /api/v1/{path}"] = lambda _: httpx.Response(200, json={"items": []})
    for words in ("runs", "models", "links", "experiments", "tokens"):
        said = command(words)
        assert (said.status, said.out) == (0, "")
        assert "vitrine " in said.err


def test_training_is_followed_live(command: Type, platform: FakePlatform, model: Path) -> None:
    (model / "vitrine.yaml").write_text(
        "name: filter\nmodel: {command: python run.py}\ntrain: {command: python run.py}\n"
    )
    trial = {"id": "trial_1", "state": "queued", "owner": "ada", "model": "filter"}
    done = trial | {
        "state": "succeeded",
        "final": True,
        "version": "ada/filter@2",
        "version_digest": DIGEST,
        "metrics": {"accuracy": 0.98765},
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:07Z",
    }
    platform.routes["POST /api/v1/trainings"] = lambda _: httpx.Response(202, json=trial)
    platform.routes["GET /api/v1/trials/trial_1/events"] = lambda _: events(
        ("progress", {"step": 1.0, "metrics": {"accuracy": 0.5}}),
        ("progress", {"log": "epoch 1\n"}),
        ("end", done),
    )
    said = command("train", str(model))
    assert (said.status, said.out) == (0, f"ada/filter@2  {DIGEST}\n")
    assert "step 1  accuracy 0.5\n" in said.err
    assert "epoch 1\n" in said.err
    assert "Trained in 7.0 s: accuracy 0.9877" in said.err


def test_monitor_shows_what_happened(command: Type, platform: FakePlatform) -> None:
    found = {
        "version": "ada/filter@1",
        "version_id": "version_1",
        "window": {"runs": 4},
        "outcomes": {"succeeded": 3, "failed": 1},
        "reasons": {"user_error": 1},
        "cold_starts": 1,
        "latency_ms": {"total": {"p50": 12.0, "p95": 1500.0, "p99": None}},
        "predictions": {"digit": {"7": 1, "3": 3}},
    }
    platform.routes["GET /api/v1/versions/ada/filter/1/monitor"] = lambda _: httpx.Response(200, json=found)
    out = command("monitor", "ada/filter@1").out
    assert "the last 4 runs, 3 succeeded, 1 failed; 1 cold starts" in out
    assert out.splitlines()[4].split() == ["total", "12", "ms", "1.5", "s", "-"]
    assert out.splitlines()[-2].lstrip().startswith("3  █")


def test_the_reference_page_is_what_the_commands_say() -> None:
    assert (ROOT / "docs/reference/cli.md").read_text() == page()


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'httpx', 'rich', 'yaml', 'motor'}"
    code = f"import sys, vitrine.cli.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_exported_name_is_there() -> None:
    assert all(getattr(vitrine, name).__name__ == name for name in vitrine.__all__)
    with pytest.raises(AttributeError):
        vitrine.nothing  # noqa: B018
