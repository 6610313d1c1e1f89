"""The embedded stack as its users meet it: started with `vitrine up`, used by command line and HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from pymongo import MongoClient

from vitrine import Client
from vitrine.stack import control
from vitrine.stack.cells import serving

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
PATIENCE_SECONDS = 120.0
COMMAND = Path(sys.executable).with_name("vitrine")
T = TypeVar("T")


def environments_cache() -> Path:
    """Where environments are kept between test runs: what was once installed is not fetched again."""
    given = os.environ.get("VITRINE_TEST_ENVIRONMENTS_DIR")
    return Path(given) if given else REPOSITORY / ".cache" / "environments"


def eventually(find: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first thing that `find` returns which is true; fail, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"did not happen within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The standard output, which `--json` makes the answer."""
        return json.loads(self.stdout)

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


@dataclass
class StackDesk:
    """One stack in a folder of its own, and its first account."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    url: str = ""
    email: str = ""
    password: str = ""
    database: Any = None
    arguments: tuple[str, ...] = ()
    """What `vitrine up` is told besides."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the stack and of every command: nothing of the caller's own platform."""
        own = {k: v for k, v in control.supervisor_environment().items() if not k.startswith("VITRINE_")}
        places = {"HOME": str(self.folder / "home"), "VITRINE_CONFIG_DIR": str(self.folder / "config")}
        # Who packages are fetched from may stand in the caller's home.
        home = {"PIP_CONFIG_FILE": found} if (found := _pip_configuration()) else {}
        return {**own, **home, **places, **self.settings}

    def start(self) -> StackDesk:
        """Start the stack and return once it is healthy and its first account is logged in."""
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700, exist_ok=True)
        cache, shown = environments_cache(), self.data / "environments"
        cache.mkdir(parents=True, exist_ok=True)
        if not shown.is_symlink():
            shown.symlink_to(cache, target_is_directory=True)
        with (self.folder / "supervisor.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(COMMAND), "up", "--data-dir", str(self.data), "--json", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the stack did not start:\n{self.logs()}"
        said = json.loads(line)
        assert said["logged_in"], said
        self.url, self.email = said["url"], said["email"]
        self.password = said["password"] or self.password
        return self

    def stop(self) -> None:
        """Stop everything that the stack runs."""
        if self.database is not None:
            self.database.client.close()
            self.database = None
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        elif self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        control.stop_stack(self.data)

    def state(self) -> dict[str, Any]:
        """Return `stack.json`."""
        content: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        return content

    def pid(self, part: str) -> int | None:
        """Return the process of a part as the supervisor knows it now."""
        pid: int | None = self.state()["parts"][part]["pid"]
        return pid

    def logs(self, lines: int = 40) -> str:
        """Return the last lines of every log."""
        files = [self.folder / "supervisor.log", *sorted((self.data / "logs").glob("*.log"))]
        tails = [(file.name, file.read_text(errors="replace").splitlines()[-lines:]) for file in files]
        return "\n".join(f"--- {name}\n" + "\n".join(tail) for name, tail in tails)

    @property
    def token(self) -> str:
        """The first account's API token."""
        saved = json.loads((self.folder / "config" / "config.json").read_text())
        assert saved["url"] == self.url
        return str(saved["token"])

    def api(self, token: str | None = "") -> httpx.Client:
        """Return a client of the HTTP API: the first account's, another token's, or (None) nobody's."""
        chosen = self.token if token == "" else token
        headers = {"Authorization": f"Bearer {chosen}"} if chosen else {}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=PATIENCE_SECONDS)

    def vitrine(self, *arguments: str | Path, status: int | None = 0) -> Said:
        """Run the command line as the first account; `status` is how it has to end (None: anyhow)."""
        ran = subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )
        said = Said(ran.returncode, ran.stdout, ran.stderr)
        if status is not None:
            assert said.status == status, f"{arguments}: {said}\n{self.logs(15)}"
        return said

    def client(self) -> Client:
        """Return the Python client of the first account."""
        return Client(self.url, self.token, journal=self.folder / "uploads")

    def push(self, directory: Path) -> dict[str, Any]:
        """Push a directory and return the version once its build has ended, well or not."""
        with self.client() as client:
            return client.built(client.push(directory)).document()

    def bundle(self, name: str, files: Mapping[str, str | bytes]) -> Path:
        """Write a bundle into a folder of that name; return the folder."""
        folder = self.folder / "bundles" / name
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    def train(self, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train a directory; return the training, and the version that it registered, which is ready."""
        with self.client() as client:
            trial = client.train(directory)
        ended = self.finished(f"/trials/{trial.id}", "the training ends", seconds=2 * PATIENCE_SECONDS)
        assert ended["state"] == "succeeded", ended
        with self.api() as api:

            def ready() -> dict[str, Any]:
                answer = api.get(f"/versions/{ended['version_id']}")
                found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
                assert found.get("state") != "build_failed", found
                return found if found.get("state") == "ready" else {}

            return ended, eventually(ready, "the trained version is ready")

    def run(self, reference: str, **inputs: Any) -> dict[str, Any]:
        """Run a version as the first account; return the run once it has ended."""
        with self.client() as client:
            return client.run(reference, **inputs).document()

    def share(self, reference: str, **options: Any) -> dict[str, Any]:
        """Make a link and return it with its token."""
        with self.api() as api:
            answer = api.post("/links", json={"ref": reference, "access": "link", **options})
        assert answer.status_code == 201, answer.text
        link: dict[str, Any] = answer.json()
        return link

    def finished(self, path: str, what: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return the run or training at `path` once it has ended."""
        with self.api() as api:

            def ended() -> dict[str, Any]:
                found: dict[str, Any] = api.get(path).raise_for_status().json()
                return found if found["final"] else {}

            return eventually(ended, what, seconds)

    def workers(self, digest: str) -> list[int]:
        """Return the processes that serve the version of that digest, from the process table."""
        runner = self.pid("runner")
        return [] if runner is None else serving(runner, digest)

    def mongo(self) -> Any:
        """Return a pymongo database: what the services wrote, to look at."""
        if self.database is None:
            client: Any = MongoClient(self.state()["mongo_url"], serverSelectionTimeoutMS=10_000)
            self.database = client["vitrine"]
        return self.database


def _pip_configuration() -> str | None:
    candidates = [
        os.environ.get("PIP_CONFIG_FILE"),
        str(Path.home() / ".config/pip/pip.conf"),
        str(Path.home() / ".pip/pip.conf"),
    ]
    return next((path for path in candidates if path and Path(path).is_file()), None)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackDesk]:
    """A stack that tests share; give it models of your own names."""
    desk = StackDesk(
        tmp_path_factory.mktemp("stack"),
        {"VITRINE_RUNNER_IDLE_SECONDS": "4", "VITRINE_API_RUN_RATE": "100000"},
    )
    try:
        yield desk.start()
    finally:
        desk.stop()
