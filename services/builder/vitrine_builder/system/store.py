"""Layers of system packages: what installing a list of Debian packages changes in a base.

Layout of `<environments>/.builder/system/<digest hex>/`: `rootfs` (base and packages together, files of the
base as links to it), `layer.tar` (the difference alone, a layer of images), and `system.json`. The digest
names the inputs: the base and the archives installed on it, their dependencies included.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors
from vitrine_builder.lock import SystemLock
from vitrine_builder.process import Bounds, run_process
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.system import apt, tree
from vitrine_builder.system.apt import Apt, SystemPackage
from vitrine_builder.system.bases import Base, Bases
from vitrine_builder.system.bytecode import compile_python
from vitrine_builder.system.container import Container
from vitrine_builder.system.turn import turn
from vitrine_builder.workspace import Workspace
from vitrine_common.digests import digest_of_json
from vitrine_common.drafts import publish

FORMAT_VERSION = 1
"""Counts changes in how a layer is made; a new number means new digests for all of them."""


@dataclass(frozen=True)
class SystemLayer:
    """A finished layer of system packages. `packages` are `name=version`; sizes in bytes.

    Attributes:
        digest: names the base and the packages.
        diff_id: digest of the uncompressed tar `archive`, as image formats name a layer.
        rootfs: the root file system that sandboxes are shown.
        made: it was made just now, not found.
    """

    digest: str
    diff_id: str
    base: str
    path: Path
    packages: tuple[str, ...]
    size: int
    made: bool = False

    @property
    def rootfs(self) -> Path:
        """Base and packages together."""
        return self.path / "rootfs"

    @property
    def archive(self) -> Path:
        """The difference to the base."""
        return self.path / "layer.tar"


def load_system(workspace: Workspace, digest: str) -> SystemLayer | None:
    """Return the layer of system packages `digest`; None where there is none."""
    place = _place(workspace, digest)
    try:
        kept = json.loads((place / "system.json").read_bytes())
    except FileNotFoundError:
        return None
    return SystemLayer(digest, kept["diff_id"], kept["base"], place, tuple(kept["packages"]), kept["size"])


def _directory(workspace: Workspace) -> Path:
    return workspace.root / ".builder" / "system"


def _place(workspace: Workspace, digest: str) -> Path:
    return _directory(workspace) / digest.removeprefix("sha256:")


@dataclass(frozen=True)
class SystemStore:
    """Finds and makes layers of system packages.

    Attributes:
        base: digest of the base to use; "" for the current one, made when there is none.
        free_bytes: what must be left on the disk before one is begun.
    """

    workspace: Workspace
    container: Container
    apt: Apt
    bases: Bases
    bounds: Bounds
    free_bytes: int
    base: str = ""

    async def provide(self, wanted: Sequence[str], report: Report = silent) -> SystemLock:
        """Return the lock of the packages `wanted`, whose layer then is there.

        Raises:
            BuildFailure: a package cannot be had or installed; says which and why.
        """
        base = await self.bases.require(self.base, report)
        packages = await self._resolve(base, wanted, report)
        digest = digest_of_json(
            {
                "format": FORMAT_VERSION,
                "base": base.digest,
                "packages": [[each.name, each.version, each.digest] for each in packages],
            }
        )
        layer = self.find(digest) or await self._make(digest, base, packages, report)
        return SystemLock(layer.digest, layer.base, layer.packages)

    async def again(self, digest: str, packages: Sequence[str], report: Report = silent) -> SystemLock:
        """Return the lock of a layer that there was, made again of exactly those packages where it is gone.

        Raises:
            BuildFailure: a package cannot be had any more, or the base is another one now.
        """
        layer = self.find(digest)
        if layer is not None:
            return SystemLock(layer.digest, layer.base, layer.packages)
        lock = await self.provide(packages, report)
        if lock.digest != digest:
            sentence = (
                "The Debian packages of this environment cannot be had as they were, or the base is another "
                "one now; push the version again."
            )
            raise BuildFailure(FailureReason.NO_SUCH_VERSION, sentence)
        return lock

    def find(self, digest: str) -> SystemLayer | None:
        """Return the layer `digest`, or None when it has to be made."""
        return load_system(self.workspace, digest)

    @property
    def _directory(self) -> Path:
        return _directory(self.workspace)

    async def _resolve(self, base: Base, wanted: Sequence[str], report: Report) -> tuple[SystemPackage, ...]:
        state = await self.apt.index(base.rootfs, report)
        key = hashlib.sha256(json.dumps([base.digest, sorted(wanted), state]).encode()).hexdigest()
        kept = self.workspace.resolutions / f"system-{key}.json"
        try:
            return apt.from_json(kept.read_bytes())
        except (FileNotFoundError, ValueError, TypeError):
            pass  # never resolved, or cut short by a full disk
        packages = await self.apt.resolve(base.rootfs, wanted)
        with disk_errors():
            self.workspace.resolutions.mkdir(parents=True, exist_ok=True)
            draft = kept.with_suffix(f".{time.monotonic_ns()}")
            draft.write_text(apt.to_json(packages))
            draft.replace(kept)
        return packages

    async def _make(
        self, digest: str, base: Base, packages: Sequence[SystemPackage], report: Report
    ) -> SystemLayer:
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = self._directory / f"{digest.removeprefix('sha256:')}.lock"
        waiting = Step("queued", "The same system packages are being installed already; waiting for them")
        with disk_errors():
            async with turn(lock, lambda: report(waiting)):
                present = self.find(digest)
                if present is not None:
                    return present
                try:
                    return await self._install(digest, base, packages, report)
                finally:
                    lock.unlink(missing_ok=True)

    async def _install(
        self, digest: str, base: Base, packages: Sequence[SystemPackage], report: Report
    ) -> SystemLayer:
        self.workspace.require_space(self.free_bytes + base.size + 4 * sum(each.size for each in packages))
        with self.workspace.draft() as draft:
            rootfs, archives = draft / "rootfs", draft / "archives"
            archives.mkdir()
            await self.apt.fetch(base.rootfs, packages, archives, report)
            report(Step("system", f"Installing {len(packages)} Debian packages"))
            await self._copy(base.rootfs, rootfs)
            copied_at = _change_time(draft / "copied")
            if packages:
                await self.apt.install(rootfs, packages, archives, report)
                await compile_python(self.container, rootfs, self.bounds, library=False)
            finished = draft / "finished"
            finished.mkdir()
            diff_id, size = await asyncio.to_thread(_take, base.rootfs, rootfs, finished, copied_at)
            names = tuple(each.text for each in packages)
            kept = {
                "digest": digest,
                "diff_id": diff_id,
                "base": base.digest,
                "packages": names,
                "archives": {each.text: each.digest for each in packages},
                "size": size,
            }
            (finished / "system.json").write_text(json.dumps(kept, indent=1))
            place = _place(self.workspace, digest)
            publish(finished, place)
        return SystemLayer(digest, diff_id, base.digest, place, names, size, made=True)

    async def _copy(self, source: Path, place: Path) -> None:
        # Not by links: a script may write into a file where it stands, which would be the base's.
        finished = await run_process(
            ["cp", "--archive", "--reflink=auto", "--", str(source), str(place)],
            bounds=self.bounds,
            environment={"PATH": "/usr/bin:/bin"},
            directory=place.parent,
        )
        if finished.returncode and "No space left" in finished.stderr:
            raise BuildFailure(FailureReason.DISK_FULL, "The builder's disk is full; try again later.")
        if finished.returncode:
            raise BuildFailure(
                FailureReason.INTERNAL, "The base could not be copied.", log=(finished.stderr,)
            )


def _change_time(marker: Path) -> int:
    """Return the file system's time now; later changes in it have this one or a later one."""
    marker.touch()
    return marker.stat().st_ctime_ns


def _take(base: Path, rootfs: Path, finished: Path, copied_at: int) -> tuple[str, int]:
    """Normalise an installed tree, write its difference as an archive; return its digest and size."""
    tree.normalise(rootfs)
    tree.flatten(rootfs)
    difference = tree.compare(base, rootfs, copied_at)
    archive = finished / "layer.tar"
    with archive.open("wb") as file:
        diff_id = tree.write_archive(rootfs, file, difference)
    tree.share(base, rootfs, difference.changed)
    rootfs.rename(finished / "rootfs")
    return diff_id, archive.stat().st_size
