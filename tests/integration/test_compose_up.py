"""The compose file, started: the main job in containers, what each may, and what happens when one dies."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from compose_desk import MARK, OWN, SECRETS, SERVERS, ComposeDesk
from stack_desk import EXAMPLES, eventually

# The first test to come also waits for a base, a daemon, eight images and their start.
pytestmark = pytest.mark.timeout(900)

MIB = 1 << 20
USER = "10001"
VITRINE = Path(sys.executable).with_name("vitrine")
QUARTERS = """
name: quarters
onnx: model.onnx
inputs:
  picture:
    type: image
    tensor: {name: image, size: [8, 8], mode: L, layout: NCHW}
outputs:
  place: {type: label, tensor: {name: scores, labels: [upper left, upper right, lower left, lower right]}}
resources: {memory: 512Mi}
"""
ECHO = """
name: echo
language: python-3.11
model:
  command: python echo.py
  input: {type: flag}
inputs:
  word: {type: text}
outputs:
  said: {type: text, path: stdout}
"""
PROBE = """
import asyncio, dataclasses, json, pathlib, sys
from vitrine_engine.process import ProcessEngine

async def look():
    engine = ProcessEngine(pathlib.Path("/tmp/probe"))
    try:
        return dataclasses.asdict(await engine.probe())
    finally:
        await engine.aclose()

print(json.dumps(asyncio.run(look())))
"""


def field(number: int, value: int | str | bytes) -> bytes:
    """Encode one field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """Encode a number, seven bits to a byte."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def quarters() -> bytes:
    """Return an ONNX model that tells the mean of each quarter of an 8 x 8 picture."""

    def tensor(name: str, *shape: int) -> bytes:
        dimensions = b"".join(field(1, field(1, size)) for size in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dimensions)))

    def fours(name: str) -> bytes:
        return field(5, field(1, name) + field(8, 4) + field(8, 4) + field(20, 7))

    pool = field(1, "image") + field(2, "pooled") + field(4, "AveragePool")
    pool += fours("kernel_shape") + fours("strides")
    flatten = field(1, "pooled") + field(2, "scores") + field(4, "Flatten")
    graph = field(1, pool) + field(1, flatten) + field(2, "quarters")
    graph += field(11, tensor("image", 1, 1, 8, 8)) + field(12, tensor("scores", 1, 4))
    return field(1, 9) + field(7, graph) + field(8, field(2, 17))


@dataclass
class Author:
    """The first account, at a command line outside of the containers."""

    desk: ComposeDesk
    folder: Path
    token: str

    def vitrine(self, *arguments: str | Path, stdin: str = "") -> Any:
        """Run the command line and return what it printed as JSON."""
        ran = subprocess.run(
            [VITRINE, *arguments, "--json"],
            env={**os.environ, "VITRINE_CONFIG_DIR": str(self.folder / "config")},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
        return json.loads(ran.stdout)

    def bundle(self, name: str, files: Mapping[str, str | bytes]) -> Path:
        """Write a bundle into a folder; return the folder."""
        folder = self.folder / name
        folder.mkdir()
        for path, content in files.items():
            (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    @contextlib.contextmanager
    def api(self, *, known: bool = True) -> Iterator[httpx.Client]:
        """Give a client of the HTTP API, as the account or as nobody."""
        headers = {"Authorization": f"Bearer {self.token}"} if known else {}
        with httpx.Client(base_url=f"{self.desk.url}/api/v1", headers=headers, timeout=120) as client:
            yield client

    def share(self, reference: str) -> dict[str, Any]:
        """Make a link and return it with its token."""
        with self.api() as api:
            answer = api.post("/links", json={"ref": reference, "access": "link"})
        assert answer.status_code == 201, answer.text
        link: dict[str, Any] = answer.json()
        return link


@pytest.fixture(scope="module")
def author(compose_desk: ComposeDesk, tmp_path_factory: pytest.TempPathFactory) -> Author:
    """The account that the documented command makes, logged in."""
    made = compose_desk.compose(
        *(
            "exec",
            "--no-TTY",
            "api",
            "python",
            "-m",
            "vitrine_api.first_account",
            "--email",
            "you@example.org",
        )
    )
    account = json.loads(made.stdout)
    author = Author(compose_desk, tmp_path_factory.mktemp("author"), account["token"])
    author.vitrine(
        *("login", "--url", compose_desk.url, "--email", account["email"]), stdin=f"{account['password']}\n"
    )
    return author


@pytest.fixture(scope="module")
def echo(author: Author) -> str:
    """The reference of a model that takes two seconds to repeat a word."""
    program = "import sys, time; time.sleep(2); print(sys.argv[-1])"
    return str(
        author.vitrine("push", author.bundle("echo", {"vitrine.yaml": ECHO, "echo.py": program}))["reference"]
    )


def picture(place: tuple[int, int]) -> bytes:
    drawn = Image.new("L", (8, 8))
    drawn.paste(255, (*place, place[0] + 4, place[1] + 4))
    content = io.BytesIO()
    drawn.save(content, "PNG")
    return content.getvalue()


def test_a_script_is_pushed_built_and_run(author: Author) -> None:
    version = author.vitrine("push", EXAMPLES / "script-filter")
    assert version["state"] == "ready", version
    before = EXAMPLES / "script-filter/samples/harbour.jpg"
    saved = author.folder / "filtered"
    run = author.vitrine("run", version["reference"], "-i", f"image=@{before}", "-o", saved)
    assert run["state"] == "succeeded", run
    (file,) = [path for path in saved.rglob("*") if path.is_file()]
    with Image.open(before) as given, Image.open(file) as made:
        assert (made.format, made.size) == ("PNG", given.size)


def test_a_source_distribution_is_built_without_a_privilege(author: Author) -> None:
    specification = (
        "name: sourced\nmodel: {command: python say.py}\noutputs: {said: {type: text, path: stdout}}\n"
    )
    specification += "package: {type: pip, requirements_file: requirements.txt}\n"
    files = {
        "vitrine.yaml": specification,
        "say.py": "import docopt; print(docopt.__version__)",
        # There is no wheel of it, and there never will be one.
        "requirements.txt": "docopt==0.6.2",
    }
    version = author.vitrine("push", author.bundle("sourced", files))
    run = author.vitrine("run", version["reference"])
    assert run["outputs"][0]["value"].strip() == "0.6.2"


def test_an_onnx_model_is_shared_opened_run_and_revoked(author: Author) -> None:
    bundle = author.bundle("quarters", {"vitrine.yaml": QUARTERS, "model.onnx": quarters()})
    version = author.vitrine("push", bundle)
    assert version["state"] == "ready", version
    link = author.share(version["reference"])
    page = httpx.get(link["url"], timeout=30)
    assert (page.status_code, "quarters" in page.text) == (200, True)
    assert link["url"].startswith(author.desk.url)
    path = f"/links/{link['token']}/runs"
    with author.api(known=False) as nobody:
        for place, label in (((4, 0), "upper right"), ((0, 4), "lower left")):
            files = {"input.picture": ("drawn.png", picture(place), "image/png")}
            run = nobody.post(path, files=files, headers={"Prefer": "wait=60"})
            assert run.status_code == 200, run.text
            assert run.json()["state"] == "succeeded", run.text
            (output,) = run.json()["outputs"]
            assert output["value"]["label"] == label
        with author.api() as api:
            assert api.delete(f"/links/{link['id']}").status_code == 204
        files = {"input.picture": ("drawn.png", picture((0, 0)), "image/png")}
        assert nobody.post(path, files=files).status_code in {404, 410}
    assert httpx.get(link["url"], timeout=30).status_code in {404, 410}


def test_files_go_straight_to_the_published_object_store(author: Author) -> None:
    content = secrets.token_bytes(64)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with author.api() as api:
        asked = api.post("/blobs/missing", json={"blobs": [{"digest": digest, "size": len(content)}]})
        (upload,) = asked.raise_for_status().json()["missing"]
        (part,) = upload["parts"]
        assert part["url"].startswith(f"{author.desk.settings['VITRINE_S3_PUBLIC_ENDPOINT']}/")
        assert httpx.put(part["url"], content=content[::-1][:10]).status_code < 300
        wrong = api.post("/blobs/complete", json={"upload_id": upload["upload_id"]})
        assert wrong.status_code in {400, 409, 422}, "other bytes than announced"
        asked = api.post("/blobs/missing", json={"blobs": [{"digest": digest, "size": len(content)}]})
        (upload,) = asked.raise_for_status().json()["missing"]
        assert httpx.put(upload["parts"][0]["url"], content=content).status_code < 300
        done = api.post("/blobs/complete", json={"upload_id": upload["upload_id"]})
        assert done.status_code < 300, done.text


def test_a_second_first_account_is_refused_in_a_sentence(author: Author) -> None:
    said = author.desk.compose(
        *(
            "exec",
            "--no-TTY",
            "api",
            "python",
            "-m",
            "vitrine_api.first_account",
            "--email",
            "me@example.org",
        ),
        status=1,
    )
    assert "there is an account already (you@example.org)" in said.text
    assert "Traceback" not in said.text


def test_sandboxes_in_the_container_are_as_closed_as_anywhere(compose_desk: ComposeDesk) -> None:
    for service in ("runner", "trainer", "builder"):
        found = json.loads(probe(compose_desk, service, None, status=0))
        assert found["namespaces"] == ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"]
        assert found["seccomp"] is True
        assert found["work_directory"] == "overlay"
    said = compose_desk.compose("logs", "--no-color", "runner").stdout
    assert "seccomp on, private directories by overlay" in said


def probe(desk: ComposeDesk, service: str, options: list[str] | None, *, status: int) -> str:
    """Return what the engine reports in a service's container, started with those security options."""
    extra = []
    if options is not None:
        # Not dumped by yaml alone: the tag replaces the list where compose would add to it.
        listed = yaml.safe_dump(options, default_flow_style=True).strip()
        file = desk.folder / "less.yml"
        file.write_text(f"services:\n  {service}:\n    security_opt: !override {listed}\n")
        extra = [file]
    run = ("run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "python", service, "-c", PROBE)
    said = desk.compose(*run, status=None, extra=extra)
    assert said.status == status, said.text
    return said.stdout if status == 0 else said.stderr


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("seccomp:infra/compose/seccomp-sandbox.json", "infra/compose/seccomp-sandbox.json"),
        ("systempaths=unconfined", "systempaths=unconfined"),
    ],
)
def test_what_sandboxes_need_of_their_container_is_needed(
    compose_desk: ComposeDesk, left_out: str, told: str
) -> None:
    content = yaml.safe_load((EXAMPLES.parent / "docker-compose.yml").read_text())
    options = content["services"]["runner"]["security_opt"]
    assert left_out in options
    less = [option for option in options if option != left_out]
    error = probe(compose_desk, "runner", less, status=1).strip().splitlines()[-1]
    assert "could not be started" in error
    assert told in error.partition("(")[2], error


@pytest.mark.parametrize("call", ["clone", "mount", "pivot_root", "sethostname", "umount2", "unshare"])
def test_no_system_call_of_the_profile_can_be_left_out(compose_desk: ComposeDesk, call: str) -> None:
    profile = json.loads((EXAMPLES.parent / "infra/compose/seccomp-sandbox.json").read_text())
    profile["syscalls"][0]["names"].remove(call)
    if call == "clone":
        # Threads and processes are made by it as well: what remains is all but its namespaces.
        plain = {"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ"}
        profile["syscalls"].append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [plain]})
    less = compose_desk.folder / f"without-{call}.json"
    less.write_text(json.dumps(profile))
    options = ["no-new-privileges:true", f"seccomp:{less}", "systempaths=unconfined"]
    assert "could not be started" in probe(compose_desk, "runner", options, status=1)


def test_containers_have_no_more_than_the_file_says(compose_desk: ComposeDesk) -> None:
    for service in (*OWN, *SERVERS):
        container = compose_desk.container(service)
        host = container["HostConfig"]
        assert container["Config"]["User"].partition(":")[0] not in {"", "0", "root"}, service
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["Privileged"] is False
        assert "no-new-privileges:true" in [option.replace("=", ":") for option in host["SecurityOpt"]]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["Init"] is True
        for published in (host["PortBindings"] or {}).values():
            assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_images_are_small_and_hold_neither_tools_nor_secrets(compose_desk: ComposeDesk) -> None:
    look = (
        f"grep -rl '{MARK}' / --exclude-dir=proc --exclude-dir=sys && exit 3;"
        "for tool in gcc cc make git pip curl; do command -v $tool && exit 4; done; exit 0"
    )
    secret = {*(compose_desk.settings[name] for name in SECRETS), MARK}
    assert MARK in Path(compose_desk.settings["VITRINE_PIP_CONFIG"]).read_text()
    with contextlib.closing(compose_desk.daemon.client()) as client:
        base = client.images.get(compose_desk.daemon.base_image).attrs["Size"]
        for service in OWN:
            image = client.images.get(f"vitrine-{service}:0.1.0")
            assert image.attrs["Config"]["User"] == "10001:10001"
            # The builder is made of uv and a solver of conda packages.
            most = 290 * MIB if service == "builder" else 120 * MIB
            assert image.attrs["Size"] - base < most, (
                f"{service}: {(image.attrs['Size'] - base) / MIB:.0f} MiB"
            )
            history = json.dumps(image.history())
            assert not any(value in history for value in secret)
            client.containers.run(
                image, ["-c", look], entrypoint="sh", remove=True, network_mode="none", user="0"
            )


def test_only_the_builder_writes_environments(author: Author, echo: str) -> None:
    del echo  # an environment is there
    folder = "/var/lib/vitrine/environments"
    for service in ("runner", "trainer"):
        said = author.desk.compose("exec", "--no-TTY", service, "touch", f"{folder}/mine", status=1)
        assert "Read-only file system" in said.text
    listed = author.desk.compose(
        "exec", "--no-TTY", "runner", "sh", "-c", f"stat -c %u {folder} {folder}/*"
    ).stdout
    assert set(listed.split()) == {USER}


def test_logs_are_lines_of_json_without_secrets(author: Author, echo: str) -> None:
    del echo
    for service in OWN:
        said = author.desk.compose("logs", "--no-color", "--no-log-prefix", service).stdout
        # Compose clears each terminal line, terminal or not.
        lines = [json.loads(line.removeprefix("\x1b[2K")) for line in said.splitlines()]
        assert "ready" in [line["message"] for line in lines]
        assert {line["service"] for line in lines} == {service}
        for name in SECRETS:
            assert author.desk.settings[name] not in said, f"{service} prints {name}"


@pytest.mark.parametrize("name", [*SECRETS, "VITRINE_API_PUBLIC_URL", "VITRINE_S3_PUBLIC_ENDPOINT"])
def test_what_is_not_filled_in_is_named(compose_desk: ComposeDesk, name: str) -> None:
    settings = {**compose_desk.settings, name: ""}
    other = ComposeDesk(compose_desk.folder, compose_desk.command, compose_desk.daemon, settings)
    said = other.compose("config", "--quiet", status=None)
    assert said.status != 0
    assert re.search(rf"{name}.*set it in \.env", said.text), said.text


def test_work_goes_on_when_containers_die(author: Author, echo: str) -> None:
    desk = author.desk
    with author.api() as api:
        for victims in (("runner", "monitor"), ("api", "builder", "trainer"), ("nats",), ("mongo", "s3")):
            words = [secrets.token_hex(4) for _ in range(3)]
            runs = [start(api, echo, word) for word in words]
            before = {victim: desk.kill(victim) for victim in victims}
            with ThreadPoolExecutor(3) as pool:
                ended = list(pool.map(lambda run: finished(api, run), runs))
            for word, run in zip(words, ended, strict=True):
                assert run["state"] == "succeeded", (victims, run)
                assert run["outputs"][0]["value"].strip() == word
            for victim, started in before.items():
                eventually(lambda: healthy_since(desk, victim, started), f"{victim} is back")  # noqa: B023
    assert author.vitrine("push", EXAMPLES / "script-filter")["state"] == "ready"


def start(api: httpx.Client, reference: str, word: str) -> str:
    """Start a run; return its id."""
    answer = api.post(f"/versions/{reference.replace('@', '/')}/runs", json={"inputs": {"word": word}})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finished(api: httpx.Client, run: str) -> dict[str, Any]:
    """Return a run once it has ended, however often the api was away."""

    def look() -> dict[str, Any]:
        with contextlib.suppress(httpx.TransportError):
            answer = api.get(f"/runs/{run}")
            if answer.status_code == 200 and answer.json()["final"]:
                found: dict[str, Any] = answer.json()
                return found
        return {}

    return eventually(look, f"run {run} ends")


def healthy_since(desk: ComposeDesk, service: str, before: str) -> bool:
    """Whether the container was started again and is healthy."""
    state = desk.container(service)["State"]
    return bool(state["StartedAt"] != before and state["Health"]["Status"] == "healthy")


def test_stop_lets_work_end_and_down_leaves_nothing(compose_desk: ComposeDesk) -> None:
    compose_desk.compose("stop")
    for service in OWN:
        # 143: the api ends its work, then itself by the same signal.
        assert compose_desk.container(service)["State"]["ExitCode"] in {0, 143}, service
    assert compose_desk.labelled()
    compose_desk.down()
    assert compose_desk.labelled() == []
