"""A Docker that can keep its images in containerd (24 and later), where the system's own is older.

Nothing is installed: packages of a later Debian are fetched with apt, with lists of their own, and unpacked
into a folder that the tests keep. Where that cannot be, tests that need it are skipped, and the end of the
run says so.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_daemon import DEBIAN, LOUD, DockerDaemon, debian_mirror, docker_cache, why_no_daemon

RELEASE = "trixie"
SINCE = 24
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ("docker.io", "containerd")
PROGRAMS = ("sbin/dockerd", "bin/docker-init", "bin/containerd", "bin/containerd-shim-runc-v2")
"""Without runc: the system's own does, and a later one may want a later C library."""


def newer_docker() -> str:
    """Return what PATH begins with for a daemon that can keep images in containerd; empty: the system's own.

    Raises:
        CalledProcessError: it cannot be fetched.
    """
    if _version("dockerd") >= SINCE:
        return ""
    kept = docker_cache() / f"docker-{RELEASE}"
    with (docker_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=docker_cache()) as folder:
                _fetch(Path(folder))
                (Path(folder) / "programs").rename(kept)
    return str(kept)


def _version(program: str) -> int:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    told = (
        subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if found
        else ""
    )
    number = re.search(r"version (\d+)", told)
    return int(number[1]) if number else 0


def _fetch(folder: Path) -> None:
    """Unpack the packages' programs into `folder`/programs."""
    for name in ("lists/partial", "cache/archives/partial", "unpacked", "programs"):
        (folder / name).mkdir(parents=True)
    source = f"deb [signed-by={KEYS}] {debian_mirror() or DEBIAN} {RELEASE} main\n"
    (folder / "sources.list").write_text(source)
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": 3,
    }
    flags = [f"--option={name}={value}" for name, value in options.items()]
    for words in (("update",), ("download", *PACKAGES)):
        subprocess.run(["apt-get", "-qq", *flags, *words], cwd=folder, check=True, timeout=300)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], check=True)
    for program in PROGRAMS:
        shutil.move(folder / "unpacked" / "usr" / program, folder / "programs")


@pytest.fixture(scope="session")
def containerd_store(docker_base_archive: Path) -> Iterator[DockerDaemon]:
    """A Docker daemon that keeps images in containerd, with `daemon.base_image` in it."""
    if (reason := why_no_daemon()) is not None:
        pytest.skip(LOUD + reason)
    try:
        programs = newer_docker()
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{LOUD}none that keeps images in containerd: Docker {SINCE} cannot be had ({error})")
    directory = Path(tempfile.mkdtemp(prefix="vitrine-docker-"))
    daemon = DockerDaemon(directory, programs=programs, features={"containerd-snapshotter": True})
    try:
        daemon.start()
        daemon.import_base(docker_base_archive)
        yield daemon
    finally:
        daemon.stop()
