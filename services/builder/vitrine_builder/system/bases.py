"""Bases: Debian root file systems that environments with system packages, and images, stand on.

Layout of `<environments>/.builder/base/<digest hex>/`: `rootfs`, `layer.tar` (the same as an archive; the
digest is its own), and `base.json`. `current` names the one that new environments use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors, scrub
from vitrine_builder.process import Bounds, Finished, ProcessTimeout
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.system import tree
from vitrine_builder.system.apt import Apt
from vitrine_builder.system.bytecode import compile_python
from vitrine_builder.system.container import Container, Folder
from vitrine_builder.system.turn import turn
from vitrine_builder.workspace import Workspace
from vitrine_common.drafts import publish

FORMAT_VERSION = 1
INCLUDED = ("ca-certificates", "fonts-dejavu-core", "python3", "python3-distutils", "python3-venv")
"""Beside what every Debian has. A font, since plots without one have no text."""
_DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")


_KEPT = "copyright"
_UNREACHABLE = re.compile(
    r"Failed getting|Couldn't download|Invalid Release|unable to resolve", re.IGNORECASE
)
_CONFIGURATION = """path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
"""
"""What a sandbox never reads stays out of bases and of layers on them; licences stay in."""
_QUERY = """dpkg --print-architecture
dpkg-query -W -f '${Package} ${Version}\\n'
test -x /usr/bin/python3.11 || test -x /usr/local/bin/python3.11
"""


@dataclass(frozen=True)
class Base:
    """A base on disk. `digest` is that of its archive (its diff id), `packages` are name to version."""

    digest: str
    path: Path
    release: str
    architecture: str
    packages: dict[str, str]
    size: int
    snapshot: str = ""
    layers: int = 1

    @property
    def rootfs(self) -> Path:
        """The root file system; only ever shown read-only."""
        return self.path / "rootfs"

    @property
    def archive(self) -> Path:
        """The root file system as an uncompressed tar, a layer of images."""
        return self.path / "layer.tar"


@dataclass(frozen=True)
class Bases:
    """Finds and makes bases below a workspace."""

    workspace: Workspace
    container: Container
    apt: Apt
    bounds: Bounds

    def find(self, digest: str = "") -> Base | None:
        """Return the base `digest`, or the current one; None when it has to be made."""
        if not digest:
            try:
                digest = (self._directory / "current").read_text().strip()
            except FileNotFoundError:
                return None
        return load_base(self._directory / digest.removeprefix("sha256:"))

    async def require(self, digest: str = "", report: Report = silent) -> Base:
        """Return the base `digest`, or the current one, made when this host can.

        Raises:
            BuildFailure: there is none, and how to get it.
        """
        found = self.find(digest)
        if found is None and digest:
            sentence = (
                f"The base {digest} is not on this host; the operator makes one: "
                "python -m vitrine_builder.base."
            )
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        return found or await self.make(report)

    async def make(self, report: Report = silent, *, again: bool = False) -> Base:
        """Make a base with debootstrap and make it the current one; one maker at a time.

        With `again`, one is made though there is one already.

        Raises:
            BuildFailure: debootstrap is missing or failed, or the disk is full.
        """
        with disk_errors():
            async with self._alone():
                present = self.find()
                if present is not None and not again:
                    return present
                report(Step("system", "Making the base system; this is done once"))
                with self.workspace.draft() as draft:
                    return await self._make(draft, report)

    async def adopt(self, archive: Path, report: Report = silent) -> Base:
        """Make a base of the root file system in the tar `archive`, such as a container's export.

        Raises:
            BuildFailure: it is no Debian with Python 3.11, or the disk is full.
        """
        with disk_errors():
            async with self._alone():
                with self.workspace.draft() as draft:
                    rootfs = self._rootfs(draft)
                    report(Step("system", "Unpacking the base system"))
                    flags = ["--no-same-owner", "--no-same-permissions", "--exclude=dev/*"]
                    await self._host(
                        rootfs, ["tar", "-xf", "/run/archive.tar", "-C", "/mnt", *flags], archive
                    )
                    return await self._finish(draft, rootfs)

    @property
    def _directory(self) -> Path:
        return self.workspace.root / ".builder" / "base"

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        async with turn(self._directory / "lock"):
            yield

    def _rootfs(self, draft: Path) -> Path:
        rootfs = draft / "rootfs"
        rootfs.mkdir(mode=0o755)
        self.container.own(rootfs)
        return rootfs

    async def _make(self, draft: Path, report: Report) -> Base:
        rootfs = self._rootfs(draft)
        await self._unpack(rootfs)
        report(Step("system", "Configuring the base system"))
        command = ["/debootstrap/debootstrap", "--second-stage"]
        self._require(await self._run(rootfs, command), "second stage")
        await self._upgrade(rootfs, draft, report)
        return await self._finish(draft, rootfs)

    async def _unpack(self, rootfs: Path) -> None:
        """Fetch and unpack the packages: with the host's debootstrap, which runs none of their code."""
        self.apt.require_sources()
        sources = self.apt.sources
        program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            sentence = (
                "There is no base system yet, and debootstrap is missing: apt-get install debootstrap, then "
                "python -m vitrine_builder.base."
            )
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        first = sources.entries[0]
        keys = [f"--keyring={sources.keyring}"] if sources.keyring else ["--no-check-gpg"]
        command = [program, "--foreign", "--variant=minbase", f"--include={','.join(INCLUDED)}", *keys]
        await self._host(rootfs, [*command, sources.release, "/mnt", first.uri], network=True)
        # Where the host is a container itself, debootstrap leaves links to the host's.
        for name in ("proc", "dev"):
            place = rootfs / name
            if place.is_symlink():
                place.unlink()
            else:
                shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            self.container.own(place)

    async def _upgrade(self, rootfs: Path, draft: Path, report: Report) -> None:
        """Bring packages to the versions of the other sources: updates, and security's."""
        await self.apt.index(rootfs, report)
        packages = await self.apt.resolve(rootfs, (), action="dist-upgrade")
        if packages:
            archives = draft / "archives"
            archives.mkdir()
            await self.apt.fetch(rootfs, packages, archives, report)
            await self.apt.install(rootfs, packages, archives, report)

    async def _finish(self, draft: Path, rootfs: Path) -> Base:
        await compile_python(self.container, rootfs, self.bounds, library=True)
        packages = await self._packages(rootfs)
        await asyncio.to_thread(_normalise, rootfs)
        archive = draft / "layer.tar"
        with archive.open("wb") as file:
            digest = await asyncio.to_thread(tree.write_archive, rootfs, file)
        for name in ("archives", "lists"):
            shutil.rmtree(draft / name, ignore_errors=True)
        place = self._directory / digest.removeprefix("sha256:")
        base = Base(
            digest,
            place,
            self.apt.sources.release,
            packages.pop("", ""),
            packages,
            archive.stat().st_size,
            self.apt.sources.snapshot,
        )
        text = json.dumps({**asdict(base), "path": "", "format": FORMAT_VERSION}, indent=1, sort_keys=True)
        (draft / "base.json").write_text(text)
        publish(draft, place)
        current = self._directory / f"current.{os.getpid()}"
        current.write_text(digest)
        current.replace(self._directory / "current")
        return base

    async def _packages(self, rootfs: Path) -> dict[str, str]:
        """Return what is installed, name to version, and under "" the architecture."""
        finished = await self._run(rootfs, ["/bin/sh", "-e", "-c", _QUERY])
        if finished.returncode:
            sentence = "This base is no Debian with Python 3.11: dpkg and python3.11 must be in it."
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        architecture, *lines = finished.stdout.decode().splitlines()
        return {"": architecture, **dict(line.split(" ", 1) for line in lines)}

    async def _host(
        self, rootfs: Path, command: list[str], archive: Path | None = None, *, network: bool = False
    ) -> None:
        """Run a program of the host, which sees the host read-only and `rootfs` at `/mnt`."""
        nothing = Path(shutil.which("true") or "/bin/true")
        mknod = shutil.which("mknod") or "/usr/bin/mknod"
        folders = [Folder(rootfs, "/mnt"), Folder(nothing, mknod, writable=False)]
        if archive is not None:
            folders.append(Folder(archive, "/run/archive.tar", writable=False))
        environment = self.apt.proxies if network else {}
        finished = await self._run(
            Path("/"), command, folders=folders, network=network, read_only=True, environment=environment
        )
        self._require(finished, Path(command[0]).name)

    async def _run(self, rootfs: Path, command: list[str], **more: object) -> Finished:
        try:
            return await self.container.run(rootfs, command, bounds=self.bounds, **more)  # type: ignore[arg-type]
        except ProcessTimeout:
            seconds = f"{self.bounds.seconds:g} seconds"
            sentence = f"Making the base system took longer than {seconds}; try again later."
            raise BuildFailure(FailureReason.TIMEOUT, sentence) from None

    def _require(self, finished: Finished, what: str) -> None:
        if finished.returncode:
            lines = [*finished.stdout.decode(errors="replace").splitlines(), *finished.stderr.splitlines()]
            unreachable = any(_UNREACHABLE.search(line) for line in lines)
            reason = FailureReason.INDEX_UNREACHABLE if unreachable else FailureReason.INTERNAL
            tail = tuple(scrub(line) for line in lines[-40:])
            sentence = f"The base system could not be made ({what} failed); the log tells more."
            raise BuildFailure(reason, sentence, None, tail)


def load_base(path: Path) -> Base | None:
    """Return the base in the folder `path`; None where there is none."""
    try:
        kept = json.loads((path / "base.json").read_bytes())
    except FileNotFoundError:
        return None
    kept.pop("format")
    return Base(**{**kept, "path": path})


def find_base(environments: Path, digest: str = "") -> Base | None:
    """Return the base `digest` of an environments folder, or its current one; None where there is none."""
    directory = environments / ".builder" / "base"
    try:
        name = digest or (directory / "current").read_text().strip()
    except FileNotFoundError:
        return None
    return load_base(directory / name.removeprefix("sha256:"))


def _normalise(rootfs: Path) -> None:
    for name in _DROPPED:
        for path in sorted((rootfs / name).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.rmdir()
            elif path.name != _KEPT:
                path.unlink()
    (rootfs / "etc/dpkg/dpkg.cfg.d/vitrine").write_text(_CONFIGURATION)
    # An archive's address is the operator's affair, and no part of what a base is.
    (rootfs / "etc/apt/sources.list").unlink(missing_ok=True)
    python = "../usr" if (rootfs / "usr/bin/python3.11").exists() else "../usr/local"
    with contextlib.suppress(FileExistsError):
        (rootfs / "opt/python").symlink_to(python)
    tree.normalise(rootfs, base=True)
    tree.flatten(rootfs)
