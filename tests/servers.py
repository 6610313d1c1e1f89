"""Real servers for tests: nats-server, nx-27017 (MongoDB wire protocol) and rclone's S3 on free ports.

Every server is one child process, known by its pid, with its data below a directory that the caller owns.
A process counts as started once *it* listens, seen in the process table: a stranger that happens to answer
on the same port is never mistaken for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_SECONDS = 30.0
"""Patience with a machine that does something else; a free machine needs below one second."""
STOP_SECONDS = 10.0
ATTEMPTS = 5


class ServerFailed(Exception):
    """A server that the tests need is missing or did not start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where an S3 server answers, and the key pair that it accepts."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"


@dataclass(slots=True)
class Server:
    """One server process. `command` builds its command line from a port, so that a taken port is retried.

    `start` blocks until the process listens. `kill` ends it without warning, `stop` politely; after either,
    `start` runs it again on the same port and the same data.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    log: Path
    port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self.process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self.process.pid

    def start(self) -> None:
        """Start the process and wait until it listens.

        Raises:
            ServerFailed: it ended, or did not listen in time; the message holds the end of its log.
        """
        for attempt in range(ATTEMPTS):
            port = self.port or free_port()
            self.process = self._spawn(port)
            if self._listens(port):
                self.port = port
                return
            self.stop()
            time.sleep(0.1 * attempt)
        raise ServerFailed(f"{self.name} did not start in {ATTEMPTS} attempts:\n{self._tail()}")

    def stop(self) -> None:
        """End the process with SIGTERM, with SIGKILL if it stays."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process with SIGKILL and reap it."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*_parent_death_signal(), *self.command(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                env={**os.environ, **self.environment},
            )

    def _listens(self, port: int) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if port in _listening_ports(self.process.pid):
                return True
            time.sleep(0.01)
        return False

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def nats_server(directory: Path) -> Server:
    """A NATS server with JetStream whose store is below `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    binary = require("nats-server")
    store = directory / "jetstream"
    return Server(
        "nats-server",
        lambda port: [binary, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(store)],
        directory / "nats.log",
    )


def mongo_server(directory: Path) -> Server:
    """A MongoDB-wire server with one SQLite file for each database below `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    binary = require("nx-27017")
    return Server(
        "nx-27017",
        lambda port: [
            *(binary, "--data-dir", str(directory / "databases"), "--host", "127.0.0.1", "-p", str(port)),
            *("--pid-file", str(directory / "mongo.pid"), "--log-file", str(directory / "mongo.own.log")),
        ],
        directory / "mongo.log",
    )


def s3_server(directory: Path) -> tuple[Server, tuple[str, str]]:
    """An S3 server over a local directory, with a key pair made for it (access key, secret key)."""
    directory.mkdir(parents=True, exist_ok=True)
    binary = require("rclone")
    data = directory / "objects"
    data.mkdir(exist_ok=True)
    keys = (f"test{secrets.token_hex(6)}", secrets.token_hex(20))
    server = Server(
        "rclone",
        lambda port: [binary, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(data)],
        directory / "s3.log",
        # By environment, because a command line is readable by every user of the machine.
        environment={"RCLONE_AUTH_KEY": f'"{keys[0]},{keys[1]}"', "RCLONE_CONFIG": os.devnull},
    )
    return server, keys


def require(binary: str) -> str:
    """The path of a server's program, from this interpreter's environment or from the search path.

    Raises:
        ServerFailed: it is not installed.
    """
    beside = Path(sys.executable).parent / binary
    found = str(beside) if beside.exists() else shutil.which(binary)
    if found is None:
        raise ServerFailed(f"{binary} is not installed, and the tests need it: run `make setup`")
    return found


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listening_ports(pid: int) -> set[int]:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def _parent_death_signal() -> list[str]:
    # A test process that is killed cannot stop its servers; where util-linux can, the kernel does.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
