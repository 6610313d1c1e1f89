"""A Docker daemon for tests, started on first use, one for each test process, with a base image in it.

`VITRINE_TEST_DOCKER_URL` names a daemon to use instead. The base image is the builder's base, made once
on a machine. Where no daemon can be started, the tests that need one are skipped, and the end of the run says
so where nobody overlooks it. A daemon that this machine should be able to run, but that does not start, fails
them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from servers import ServerFailed
from system_base import find_or_make_base
from vitrine_builder.spread import spread

BASE_IMAGE = "vitrine-test/base:3"
DEBIAN = "http://deb.debian.org/debian"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOUD = "NO DOCKER DAEMON: "
CAP_SYS_ADMIN = 21
LOCKS = Path(tempfile.gettempdir())
"""Where every test run of this machine finds the locks of its daemons."""


@dataclass(slots=True)
class DockerDaemon:
    """One `dockerd` whose data, sockets and containers lie below a directory of its own.

    Containers get no network: the daemon has no bridge and leaves the host's firewall alone, unless `network`
    asks for both. `kill` ends it without warning; `start` runs it again on the same socket and data.
    """

    directory: Path
    network: bool = False
    base_image: str = BASE_IMAGE
    programs: str = ""
    """Where `dockerd` and what it starts are looked for first."""
    features: Mapping[str, bool] = field(default_factory=dict)
    """As `daemon.json` names them."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    bridge: str = ""
    """The network interface that was made for this daemon."""
    firewall: int | None = field(default=None, repr=False)
    """The lock on the machine's firewall rules, which a daemon with networks changes."""

    @property
    def url(self) -> str:
        """Where the daemon listens, as `DOCKER_HOST` takes it."""
        return f"unix://{self.directory}/docker.sock"

    @property
    def pid(self) -> int:
        """The running daemon's process."""
        if self.process is None:
            raise ServerFailed("dockerd is not running")
        return self.process.pid

    @property
    def log(self) -> Path:
        """What the daemon writes."""
        return self.directory / "dockerd.log"

    def client(self) -> docker.DockerClient:
        """Return a client; close it."""
        return docker.DockerClient(base_url=self.url, timeout=120)

    def start(self) -> None:
        """Start the daemon and wait until it answers; raises `ServerFailed` with the end of its log.

        A daemon with networks waits until no other one of this machine's test runs has any.
        """
        if self.network and self.firewall is None:
            self.firewall = _locked("firewall")
        # While it starts, a daemon without a bridge removes Docker's own: none may be on its way just then.
        starting = _locked("start")
        try:
            self._start()
        finally:
            os.close(starting)
        # Ext4 without a journal looks for inodes past everything that was removed nearby a moment ago.
        spread(self.directory / "data" / "overlay2")

    def _start(self) -> None:
        (self.directory / "daemon.json").write_text(json.dumps({"features": dict(self.features)}))
        for name in ("docker.pid", "docker.sock"):
            (self.directory / name).unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, "PATH": self._path},
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_text(errors="replace")[-3000:]
                raise ServerFailed(f"dockerd did not start:\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the daemon with its containers, free its mounts, and remove its data."""
        if self.process is not None and self.process.poll() is None:
            quietly = contextlib.suppress(docker.errors.DockerException)
            with quietly, contextlib.closing(self.client()) as client:
                for container in client.containers.list(all=True, ignore_removed=True):
                    with contextlib.suppress(docker.errors.APIError):
                        container.remove(force=True)
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        self.kill()
        if self.bridge:
            subprocess.run(["ip", "link", "delete", self.bridge], check=False)
        _unmount_below(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.firewall is not None:
            os.close(self.firewall)
            self.firewall = None

    def kill(self) -> None:
        """End the daemon with SIGKILL and reap it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self._end_containerd()

    def _end_containerd(self) -> None:
        """Wait until the daemon's containerd is gone, too: the next daemon would take it for a living one."""
        note = self.directory / "exec/containerd/containerd.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int(note.read_text())
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + START_SECONDS
            while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        note.unlink(missing_ok=True)

    def import_base(self, archive: Path) -> None:
        """Make the base image from a root file system's archive, unless the daemon has it."""
        with contextlib.closing(self.client()) as client:
            if client.images.list(name=self.base_image):
                return
            repository, _, tag = self.base_image.rpartition(":")
            client.api.import_image_from_file(str(archive), repository=repository, tag=tag)

    def _answers(self) -> bool:
        # Not by the client library: where nobody listens, it leaves an open socket behind.
        path = self.url.removeprefix("unix://")
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(path)
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return connection.recv(64).split()[1:2] == [b"200"]
        except OSError:
            return False

    @property
    def _path(self) -> str:
        return ":".join(filter(None, (self.programs, os.environ["PATH"], "/usr/sbin", "/usr/local/sbin")))

    def _command(self) -> list[str]:
        found = shutil.which("dockerd", path=self._path)
        if found is None:
            raise ServerFailed("dockerd is not installed, and the tests need it: run `make setup`")
        # When the test process is killed, the daemon still ends its containers.
        guard = [setpriv, "--pdeathsig", "TERM"] if (setpriv := shutil.which("setpriv")) else []
        places = {
            "data-root": "data",
            "exec-root": "exec",
            "pidfile": "docker.pid",
            "config-file": "daemon.json",
        }
        flags = [f"--{name}={self.directory / place}" for name, place in places.items()]
        flags += [f"--host={self.url}", "--shutdown-timeout=5", "--log-level=warn"]
        if self.network:
            return [*guard, found, *flags]
        return [*guard, found, *flags, f"--bridge={self._bridge()}", "--iptables=false", "--ip-forward=false"]

    def _bridge(self) -> str:
        """Return a bridge that leads nowhere: none, but where Docker's own is, which that would remove."""
        if not Path("/sys/class/net/docker0").exists():
            return "none"
        bridge = f"vt-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:10]}"
        if not Path("/sys/class/net", bridge).exists():
            third = int(bridge[-2:], 16)
            for words in (
                f"link add {bridge} type bridge",
                f"address add 169.254.{third}.1/24 dev {bridge}",
                f"link set {bridge} up",
            ):
                subprocess.run(["ip", *words.split()], check=True)
            self.bridge = bridge
        return bridge


@dataclass(slots=True)
class GivenDaemon(DockerDaemon):
    """The daemon that `VITRINE_TEST_DOCKER_URL` names: used, never started or stopped."""

    given: str = ""

    @property
    def url(self) -> str:
        """Where the given daemon listens."""
        return self.given

    def start(self) -> None:
        """Check that it answers; raises `DockerException`."""
        with contextlib.closing(self.client()) as client:
            client.ping()

    def stop(self) -> None:
        """Leave it alone."""


def _locked(what: str) -> int:
    """Wait for a lock that all test runs of this machine share; closing the descriptor gives it back."""
    descriptor = os.open(
        LOCKS / f"vitrine-test-docker-{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def why_no_daemon() -> str | None:
    """Return why this machine cannot start a Docker daemon, and what to do; None where it can."""
    way_out = "set VITRINE_TEST_DOCKER_URL to a daemon that the tests may use"
    if platform.system() != "Linux":
        return f"dockerd runs on Linux only; {way_out}"
    if os.geteuid() != 0:
        return f"only root can start dockerd; run the tests as root, or {way_out}"
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if not capabilities >> CAP_SYS_ADMIN & 1:
        return f"root lacks CAP_SYS_ADMIN in this container, so dockerd cannot mount; {way_out}"
    return None


def base_archive() -> Path:
    """Return the archive of the base image: the builder's base, told where its packages come from."""
    base = find_or_make_base()
    archive = docker_cache() / f"base-{base.digest.removeprefix('sha256:')[:16]}.tar"
    with (docker_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            draft = archive.with_suffix(".draft")
            shutil.copyfile(base.archive, draft)
            # Images of services install programs; the builder's own bases get theirs from outside.
            sources = f"deb {debian_mirror() or DEBIAN} {base.release} main\n".encode()
            entry = tarfile.TarInfo("etc/apt/sources.list")
            entry.size = len(sources)
            with tarfile.open(draft, "a") as tar:
                tar.addfile(entry, io.BytesIO(sources))
            draft.rename(archive)
    return archive


def docker_cache() -> Path:
    """Where tests keep what a daemon should not have to make or fetch again."""
    given = os.environ.get("VITRINE_TEST_DOCKER_CACHE_DIR")
    cache = Path(given) if given else Path(__file__).resolve().parents[1] / ".cache" / "docker"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def debian_mirror() -> str | None:
    """Return the address from which this machine installs packages; None where debootstrap's own will do."""
    for source in sorted(Path("/etc/apt").glob("sources.list.d/*.sources")):
        for line in source.read_text().splitlines():
            if line.startswith("URIs:") and "security" not in line:
                return line.split()[1]
    for source in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt").glob("sources.list.d/*.list"))):
        for line in source.read_text().splitlines() if source.exists() else ():
            words = [word for word in line.split() if not word.startswith("[") and not word.endswith("]")]
            if words[:1] == ["deb"] and "security" not in words[1]:
                return words[1]
    return None


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((item for item in mounts if item.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


@pytest.fixture(scope="session")
def docker_base_archive() -> Path:
    """The archive of a minimal Debian with Python: what the base image is made of."""
    if (reason := why_no_daemon()) is not None and not os.environ.get("VITRINE_TEST_DOCKER_URL"):
        pytest.skip(LOUD + reason)
    return base_archive()


@pytest.fixture(scope="session")
def docker_daemon(docker_base_archive: Path) -> Iterator[DockerDaemon]:
    """A Docker daemon with `daemon.base_image` in it; remove what you make in it."""
    # A short path: a socket's name has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="vitrine-docker-"))
    given = os.environ.get("VITRINE_TEST_DOCKER_URL")
    daemon = GivenDaemon(directory, given=given) if given else DockerDaemon(directory)
    try:
        daemon.start()
        daemon.import_base(docker_base_archive)
        yield daemon
    finally:
        daemon.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly, once, that tests went without a Docker daemon, and why."""
    reports = terminalreporter.stats.get("skipped", [])
    texts = [str(report.longrepr) for report in reports if LOUD in str(report.longrepr)]
    if texts:
        reason = texts[0].partition(LOUD)[2].rstrip("')")
        terminalreporter.section("NO DOCKER DAEMON", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(texts)} tests were NOT run: {reason}", red=True)
