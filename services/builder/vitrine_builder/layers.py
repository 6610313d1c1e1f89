"""Layers: one wheel each, unpacked and compiled once, shared by every environment that names it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vitrine_builder.bytecode import Compiler
from vitrine_builder.failures import disk_errors, scrub
from vitrine_builder.lock import LockedPackage, layer_digest
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.scripts import relocate_scripts
from vitrine_builder.uv import Uv
from vitrine_builder.workspace import Workspace, publish

INSIDE = "/env"
"""Where a sandbox sees the environment."""
DOWNLOADS = 4
"""Wheels fetched at a time; one index answers that many without complaint."""


@dataclass(frozen=True)
class Layer:
    """A finished layer. `tree` is laid out like an environment; sizes in bytes.

    `uncompiled` counts sources without bytecode, since they do not compile.
    """

    package: LockedPackage
    tree: Path
    files: int
    size: int
    uncompiled: int


@dataclass(frozen=True)
class LayerStore:
    """Makes layers and finds those that exist. A layer is there completely or not at all."""

    workspace: Workspace
    uv: Uv
    compiler: Compiler

    def find(self, package: LockedPackage) -> Layer | None:
        """Return the layer of `package`, or None when it has to be made."""
        place = self._place(package)
        try:
            kept = json.loads((place / "layer.json").read_bytes())
        except FileNotFoundError:
            return None
        return Layer(package, place / "tree", kept["files"], kept["size"], kept["uncompiled"])

    async def make(self, packages: Sequence[LockedPackage], report: Report = silent) -> list[Layer]:
        """Make the layers of `packages`: all wheels are fetched and unpacked, then compiled one by one.

        Raises:
            BuildFailure: a wheel cannot be had, its hash differs, or the disk is full.
        """
        if not packages:
            return []
        with disk_errors(), contextlib.ExitStack() as drafts:
            folders = {package: drafts.enter_context(self.workspace.draft()) for package in packages}
            await self._install_all(folders, report)
            layers = []
            for done, (package, folder) in enumerate(folders.items()):
                report(Step("compile", package.name, done, len(packages), "packages"))
                layers.append(await self._finish(package, folder))
            report(Step("compile", "", len(packages), len(packages), "packages"))
        return layers

    def _place(self, package: LockedPackage) -> Path:
        return self.workspace.layers / layer_digest(package, self.uv.target).removeprefix("sha256:")

    def _site_packages(self, tree: Path) -> Path:
        return tree / "lib" / f"python{self.uv.target.python}" / "site-packages"

    async def _install_all(self, folders: dict[LockedPackage, Path], report: Report) -> None:
        sizes = [package.size for package in folders]
        known = sum(size for size in sizes if size)
        report(Step("download", f"{len(folders)} packages", 0, known or None, "bytes" if known else None))
        slots = asyncio.Semaphore(DOWNLOADS)
        finished = 0

        async def install(package: LockedPackage, folder: Path) -> None:
            nonlocal finished
            async with slots:
                await self._install(package, folder, report)
            finished += 1
            report(Step("unpack", package.name, finished, len(folders), "packages"))

        try:
            async with asyncio.TaskGroup() as tasks:
                for package, folder in folders.items():
                    tasks.create_task(install(package, folder))
        except BaseExceptionGroup as group:
            # One reason is enough: the others were cancelled for it or would say the same.
            raise group.exceptions[0] from None

    async def _install(self, package: LockedPackage, folder: Path, report: Report) -> None:
        tree = folder / "tree"
        arguments = [
            "--no-deps",
            "--require-hashes",
            "--link-mode=hardlink",
            "--prefix",
            str(tree),
            "-r",
            "-",
        ]
        await self.uv.pip("install", arguments, package.text, lambda line: _report_download(line, report))
        await asyncio.to_thread(relocate_scripts, tree, self.uv.python, self._site_packages(tree))

    async def _finish(self, package: LockedPackage, folder: Path) -> Layer:
        tree = folder / "tree"
        inside = f"{INSIDE}/{self._site_packages(tree).relative_to(tree)}"
        compiled = await self.compiler.compile(self._site_packages(tree), inside)
        files, size = await asyncio.to_thread(_seal, tree)
        kept = {"package": asdict(package), "files": files, "size": size, "uncompiled": compiled.failed}
        (folder / "layer.json").write_text(json.dumps(kept))
        place = self._place(package)
        publish(folder, place)
        return Layer(package, place / "tree", files, size, compiled.failed)


def _report_download(line: str, report: Report) -> None:
    # The rest of what uv says is about itself.
    if line.strip().startswith("Download"):
        report(Step("download", scrub(line.strip())))


def walk_files(tree: Path) -> Iterator[str]:
    """Yield the path of every file below `tree`, and links as what they are, in a stable order."""
    for place, folders, files in os.walk(tree):
        folders.sort()
        yield from (f"{place}/{name}" for name in sorted(files))


def _seal(tree: Path) -> tuple[int, int]:
    """Make every file read-only and drop what is none; return the number of files and their bytes.

    A mode belongs to the inode, so the installer's cache becomes read-only with it: it only ever links
    and unlinks its files.
    """
    files = size = 0
    (tree / ".lock").unlink(missing_ok=True)
    for file in map(Path, walk_files(tree)):
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            file.unlink()  # a link or device out of a wheel would point anywhere
            continue
        file.chmod(0o555 if status.st_mode & 0o111 else 0o444)
        files += 1
        size += status.st_size
    return files, size
