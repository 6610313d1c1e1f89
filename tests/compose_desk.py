"""`docker-compose.yml` started for real: images built here, servers that stand in where no registry is.

The daemon is the tests' own, on data that is kept in `.cache/docker`: a second run finds its images there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from docker_daemon import LOUD, DockerDaemon, GivenDaemon, debian_mirror, docker_cache
from servers import ServerFailed, free_port
from vitrine_common.indexes import pip_settings

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = (REPOSITORY / "docker-compose.yml", REPOSITORY / "infra/compose/local-servers.yml")
OWN = ("api", "builder", "runner", "trainer", "monitor")
SERVERS = ("nats", "mongo", "s3")
LEAST_COMPOSE = (2, 24)
PLUGINS = ("PATH", "HOME", "DOCKER_CONFIG")
COMPOSE_SUITE = "trixie"
"""Debian's release that has a Compose of today; one program of it is used, and nothing installed."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"
HOST_SOCKET = Path("/var/run/docker.sock")
PATIENCE_SECONDS = 240
MARK = "the package settings of the tests, which no image may hold"
"""Always the same: an image of an earlier run may not hold it either."""
KEPT_BYTES = 2 << 30
"""Of what builds can use again, most of it the wheels of the services."""


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr


@dataclass
class ComposeDesk:
    """One project of the compose file, with settings of its own."""

    folder: Path
    command: Sequence[str]
    daemon: DockerDaemon
    settings: dict[str, str]
    project: str = field(default_factory=lambda: f"vitrine-{secrets.token_hex(4)}")
    files: tuple[Path, ...] = FILES

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self.settings["VITRINE_API_PUBLIC_URL"]

    @property
    def environment_file(self) -> Path:
        """The project's `.env`."""
        path = self.folder / f"{self.project}.env"
        path.write_text("".join(f"{key}={value}\n" for key, value in self.settings.items()))
        return path

    def compose(self, *arguments: str, status: int | None = 0, extra: Sequence[Path] = ()) -> Said:
        """Run `docker compose`; `status` is how it has to end (None: anyhow), `extra` are further files."""
        files = [word for file in (*self.files, *extra) for word in ("--file", str(file))]
        ran = subprocess.run(
            [
                *(*self.command, "--project-name", self.project, "--env-file", str(self.environment_file)),
                *("--project-directory", str(REPOSITORY), *files, *arguments),
            ],
            # No setting of the caller's own projects, but where the caller's plugins are.
            env={
                **{key: os.environ[key] for key in PLUGINS if key in os.environ},
                "DOCKER_HOST": self.daemon.url,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        said = Said(ran.returncode, ran.stdout, ran.stderr)
        assert status is None or said.status == status, f"{arguments}: {said.text[-4000:]}"
        return said

    def up(self) -> None:
        """Build what is new, start everything, and return once all of it is healthy."""
        said = self.compose("up", "--build", "--detach", "--wait", status=None)
        if said.status != 0:
            logs = self.compose("logs", "--no-color", "--tail=20", status=None).text
            raise ServerFailed(f"docker compose up failed:\n{said.text[-3000:]}\n{logs[-5000:]}")

    def down(self) -> None:
        """Remove the project's containers, networks and volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=20")

    def container(self, service: str) -> dict[str, Any]:
        """Return what the daemon knows about a service's container."""
        (found,) = self.compose("ps", "--all", "--quiet", service).stdout.split()
        with contextlib.closing(self.daemon.client()) as client:
            answer: dict[str, Any] = client.api.inspect_container(found)
            return answer

    def kill(self, service: str) -> str:
        """End a container's first process with SIGKILL, as a crash would; return the container's start."""
        state = self.container(service)["State"]
        # Not by the daemon: what was killed by its order stays down.
        os.kill(state["Pid"], signal.SIGKILL)
        return str(state["StartedAt"])

    def labelled(self) -> list[str]:
        """Return the names of all that the project has in the daemon."""
        label = {"label": f"com.docker.compose.project={self.project}"}
        with contextlib.closing(self.daemon.client()) as client:
            found = [*client.containers.list(all=True, filters=label), *client.volumes.list(filters=label)]
            return [item.name for item in (*found, *client.networks.list(filters=label))]


@dataclass(slots=True)
class KeptDaemon(DockerDaemon):
    """A daemon with networks whose images outlive it."""

    kept: Path = Path()

    def start(self) -> None:
        """Start on the kept data."""
        self.kept.mkdir(parents=True, exist_ok=True)
        place = self.directory / "data"
        if not place.is_symlink():
            place.symlink_to(self.kept, target_is_directory=True)
        # Not `super()`: dataclasses with slots are made twice.
        DockerDaemon.start(self)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a killed run left: its containers would be started again with the daemon."""
        with contextlib.closing(self.client()) as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                container.remove(force=True, v=True)
            client.networks.prune()
            for volume in client.volumes.list():
                volume.remove(force=True)


def compose_command(cache: Path) -> list[str]:
    """Return a `docker compose` that is new enough: this machine's, else Debian's next, kept in `cache`."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            said = subprocess.run(
                [*command, "version", "--short"], capture_output=True, text=True, check=False
            )
            numbers = re.match(r"v?(\d+)\.(\d+)", said.stdout)
            if said.returncode == 0 and numbers and tuple(map(int, numbers.groups())) >= LEAST_COMPOSE:
                return command
    program = cache / f"docker-compose-{COMPOSE_SUITE}"
    if not program.exists():
        _fetch_compose(program)
    return [str(program)]


def _fetch_compose(program: Path) -> None:
    """Take the program out of Debian's package, whose signature apt checks; the system stays as it is."""
    with tempfile.TemporaryDirectory(prefix="vitrine-apt-") as name:
        folder = Path(name)
        (folder / "lists/partial").mkdir(parents=True)
        source = f"deb [signed-by={KEYRING}] {debian_mirror()} {COMPOSE_SUITE} main\n"
        (folder / "sources.list").write_text(source)
        options = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "--quiet", *(f"--option={key}={value}" for key, value in options.items())]
        for command in ([*apt, "update"], [*apt, "download", "docker-compose"]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ServerFailed(
                    "the tests need Docker Compose 2.24 or newer (`docker compose version`), and Debian's "
                    f"could not be fetched:\n{done.stdout}{done.stderr}"
                )
        (package,) = folder.glob("docker-compose_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, folder / "package"], check=True)
        draft = program.with_suffix(".draft")
        shutil.copy(folder / "package" / PLUGIN, draft)
        draft.rename(program)


def _package_settings(folder: Path) -> Mapping[str, str]:
    """Return the settings that let image builds reach the packages that this machine reaches."""
    found = pip_settings(os.environ)
    wanted = ("index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "default-timeout")
    lines = [f"# {MARK}", "[global]"]
    for key in wanted:
        # A folder of this machine is none of the container's.
        places = [word for word in found.get(key, "").split() if not word.startswith(("file:", "/"))]
        if places:
            lines.append(f"{key} = {' '.join(places)}")
    configuration = folder / "pip.conf"
    configuration.write_text("\n".join([*lines, ""]))
    settings = {"VITRINE_PIP_CONFIG": str(configuration)}
    certificates = os.environ.get("SSL_CERT_FILE") or found.get("cert")
    if certificates and Path(certificates).exists():
        settings["VITRINE_CA_CERTIFICATES"] = certificates
    return settings


def _settings(folder: Path, base_image: str) -> dict[str, str]:
    pages, objects = free_port(), free_port()
    return {
        **{name: secrets.token_hex(16) for name in SECRETS},
        "VITRINE_API_PUBLIC_URL": f"http://127.0.0.1:{pages}",
        "VITRINE_S3_PUBLIC_ENDPOINT": f"http://127.0.0.1:{objects}",
        "VITRINE_API_PUBLISH_PORT": str(pages),
        "VITRINE_S3_PUBLISH_PORT": str(objects),
        "VITRINE_BASE_IMAGE": base_image,
        "VITRINE_BUILD_NETWORK": "host",
        **_package_settings(folder),
    }


SECRETS = (
    "VITRINE_NATS_PASSWORD",
    "VITRINE_MONGO_PASSWORD",
    "VITRINE_MONGO_REPLICA_KEY",
    "VITRINE_S3_ACCESS_KEY",
    "VITRINE_S3_SECRET_KEY",
)


@pytest.fixture(scope="session")
def compose_daemon(docker_base_archive: Path) -> Iterator[DockerDaemon]:
    """A daemon with networks and the base image; its images and build caches are kept."""
    given = os.environ.get("VITRINE_TEST_DOCKER_URL")
    if given is None and HOST_SOCKET.exists():
        pytest.skip(
            f"{LOUD}this machine has one, whose firewall rules a second one with networks would change; "
            f"let the tests use it: VITRINE_TEST_DOCKER_URL=unix://{HOST_SOCKET}"
        )
    directory = Path(tempfile.mkdtemp(prefix="vitrine-compose-"))
    cache = docker_cache()
    daemon: DockerDaemon = (
        GivenDaemon(directory, given=given)
        if given
        else KeptDaemon(directory, network=True, kept=cache / "compose-data")
    )
    with (cache / "compose.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            daemon.start()
            daemon.import_base(docker_base_archive)
            yield daemon
        finally:
            with (
                contextlib.suppress(docker.errors.DockerException),
                contextlib.closing(daemon.client()) as client,
            ):
                client.images.prune()
                client.api.prune_builds(keep_storage=KEPT_BYTES)
            daemon.stop()


@pytest.fixture(scope="session")
def compose_desk(
    compose_daemon: DockerDaemon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeDesk]:
    """The whole system in containers, healthy."""
    folder = tmp_path_factory.mktemp("compose")
    command = compose_command(docker_cache())
    settings = _settings(folder, compose_daemon.base_image)
    hurried = folder / "hurried.yml"
    hurried.write_text(json.dumps({"services": {name: {"environment": HURRIED} for name in OWN}}))
    desk = ComposeDesk(folder, command, compose_daemon, settings, files=(*FILES, hurried))
    try:
        desk.up()
        yield desk
    finally:
        desk.down()


HURRIED = {"VITRINE_WORK_LEASE_SECONDS": "3", "VITRINE_WORK_REAP_SECONDS": "0.5"}
"""The work of a killed container is begun again sooner than operators want it."""
