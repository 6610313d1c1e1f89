"""Stacks for tests: the real supervisor and servers, with small stand-ins for the five services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from vitrine.stack import control

PATIENCE = 60.0

_SERVICE = """
import json, os, signal, socket, subprocess, sys, time
from urllib.parse import urlsplit

NAME = __name__.split(".")[0]

def answers(url):
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname, place.port), 2).close()
        return True
    except OSError:
        return False

def stopped(*_):
    with open(NAME + ".stopped", "w") as file:
        json.dump({key: answers(os.environ[key]) for key in
                   ("VITRINE_NATS_URL", "VITRINE_MONGO_URL", "VITRINE_S3_ENDPOINT")}, file)
    sys.exit(0)

def main():
    if NAME == "stand_broken":
        print("no such thing: the frobnicator", flush=True)
        sys.exit(3)
    signal.signal(signal.SIGTERM, stopped)
    if NAME == "stand_stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(NAME + ".environment", "w") as file:
        json.dump(dict(os.environ), file)
    if NAME == "stand_parent":
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with open("child.pid", "w") as file:
            file.write(str(child.pid))
    print("works", flush=True)
    if NAME != "stand_late":
        with os.fdopen(int(os.environ["VITRINE_READY_FD"]), "w") as pipe:
            pipe.write("ready\\n")
    while True:
        time.sleep(60)
"""
_ACCOUNT = """
import os, sys
with open(os.environ["HOME"] + "/calls", "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
print('{"email": "%s", "password": "correct horse", "token": "vt_1"}' % sys.argv[2])
"""


def write_services(folder: Path, names: Sequence[str]) -> None:
    """Write packages `stand_<name>` with `app.main()`, and the module `stand_account`."""
    for name in names:
        package = folder / f"stand_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "app.py").write_text(_SERVICE)
        (package / "__main__.py").write_text(f"from stand_{name}.app import main\nmain()\n")
    (folder / "stand_account.py").write_text(_ACCOUNT)


def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition` holds; fail, naming `what`, when it does not within `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {PATIENCE:g} s: {what}"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass
class StackRun:
    """A data directory, and the supervisor that runs on it."""

    folder: Path
    services: Sequence[str] = ("one", "two")
    options: Sequence[str] = ()
    extra: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        write_services(self.folder / "modules", self.services)

    @property
    def environment(self) -> dict[str, str]:
        """The supervisor's environment: nothing of the caller's own stack or login."""
        own = {k: v for k, v in control.supervisor_environment().items() if not k.startswith("VITRINE_")}
        return {
            **own,
            "HOME": str(self.home),
            "VITRINE_CONFIG_DIR": str(self.home / "config"),
            "PYTHONPATH": str(self.folder / "modules"),
            **self.extra,
        }

    @property
    def arguments(self) -> list[str]:
        """What the supervisor is told."""
        fixed = ["--data-dir", str(self.data), "--package-prefix", "stand_", "--first-account", ""]
        return [*fixed, "--services", ",".join(self.services), "--json", *self.options]

    def start(self) -> dict[str, Any]:
        """Start the stack and return its announcement once it is healthy."""
        process = self.spawn()
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the stack did not start: {process.stderr.read() if process.stderr else ''}"
        announced: dict[str, Any] = json.loads(line)
        return announced

    def spawn(self) -> subprocess.Popen[str]:
        """Start the supervisor and return at once."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vitrine.stack", *self.arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def refused(self) -> str:
        """Start a stack that cannot start; return what it says on stderr."""
        process = self.spawn()
        output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, (process.returncode, output, errors)
        return errors

    def state(self) -> dict[str, Any]:
        """Return `stack.json`, or nothing when it is not there yet."""
        path = self.data / "stack.json"
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return content

    def pids(self) -> dict[str, int]:
        """Return the pid of every part that runs."""
        return {name: part["pid"] for name, part in self.state()["parts"].items() if part["pid"]}

    def seen(self, service: str) -> dict[str, str]:
        """Return the environment that `service` was started with."""
        found: dict[str, str] = json.loads((self.data / f"stand_{service}.environment").read_text())
        return found

    def signal(self, number: signal.Signals) -> int:
        """Signal the supervisor, wait for its end and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def close(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        control.stop_stack(self.data)
        child = self.data / "child.pid"
        if child.exists() and alive(int(child.read_text())):
            os.kill(int(child.read_text()), signal.SIGKILL)
