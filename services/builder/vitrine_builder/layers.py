"""Layers: one wheel each, unpacked once, shared by every environment that names it.

Bytecode comes later, and lies beside a layer's tree: see `compiled`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import stat
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vitrine_builder.bytecode import Compiler
from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors, scrub
from vitrine_builder.lock import LockedPackage, layer_digest
from vitrine_builder.progress import Report, Step, Stopwatch, silent
from vitrine_builder.sdists.memory import built_wheel
from vitrine_builder.uv import Uv
from vitrine_builder.wheels import WheelRefused, WheelTree, installed_from, refused
from vitrine_builder.workspace import Workspace
from vitrine_common.drafts import publish

log = logging.getLogger(__name__)

INSIDE = "/env"
"""Where a sandbox sees the environment."""


class LayerFile(NamedTuple):
    """A file of a layer, relative to its tree, which is laid out like an environment."""

    path: str
    size: int
    executable: bool


@dataclass(frozen=True)
class Bytecode:
    """Bytecode of a layer's sources, in a tree of its own that is laid out like an environment, too.

    Attributes:
        listing: every file of that tree, sorted.
        uncompiled: sources without bytecode, since they do not compile.
    """

    tree: Path
    listing: tuple[LayerFile, ...]
    uncompiled: int


@dataclass(frozen=True)
class Layer:
    """A finished layer.

    Attributes:
        tree: laid out like an environment.
        content: bytes of the wheel's own files, equal wherever the wheel is unpacked.
        listing: every file of the tree, sorted.
        compiled: its bytecode, where that is there and wanted.
    """

    package: LockedPackage
    tree: Path
    content: int
    listing: tuple[LayerFile, ...]
    compiled: Bytecode | None = None

    @property
    def name(self) -> str:
        """The package's name."""
        return self.package.name

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self.listing)

    @property
    def size(self) -> int:
        """Bytes of all files, without bytecode."""
        return sum(file.size for file in self.listing)

    def source(self, path: str) -> str:
        """Return where the file `path` of the listing lies."""
        return f"{self.tree}/{path}"


_UNNAMED = frozenset({FailureReason.DISK_FULL, FailureReason.INTERNAL, FailureReason.INVALID_WHEEL})
_LOOK_SECONDS = 0.25
_WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class LayerStore:
    """Makes layers and finds those that exist. A layer is there completely or not at all.

    Attributes:
        compiler: makes the bytecode that follows.
        find_links: folders of wheels that were built here.
        least_bytes: left on the disk whatever a wheel unpacks to.
    """

    workspace: Workspace
    uv: Uv
    compiler: Compiler
    find_links: tuple[Path, ...] = ()
    least_bytes: int = 0
    _known: dict[LockedPackage, Layer] = field(default_factory=dict, repr=False, compare=False)

    def find(self, package: LockedPackage) -> Layer | None:
        """Return the layer of `package`, or None when it has to be made."""
        place = self.place(package)
        if (known := self._known.get(package)) is not None and known.tree.is_dir():
            return known
        try:
            kept = json.loads((place / "layer.json").read_bytes())
        except FileNotFoundError:
            return None
        listing = tuple(LayerFile(*entry) for entry in kept["listing"])
        layer = Layer(package, place / "tree", kept["content"], listing)
        self._known[package] = layer
        return layer

    def place(self, package: LockedPackage) -> Path:
        """Return where the layer of `package` is, or would be."""
        digest = layer_digest(package, self.uv.target)
        return self.workspace.layers / digest.removeprefix("sha256:")

    async def make(
        self,
        packages: Sequence[LockedPackage],
        report: Report = silent,
        watch: Stopwatch | None = None,
    ) -> list[Layer]:
        """Make the layers of `packages`; those that another build is making are waited for.

        Raises:
            BuildFailure: a wheel cannot be had, its hash differs, or the disk is full.
        """
        layers: dict[LockedPackage, Layer] = {}
        left, waited = list(packages), False
        while left:
            with self.workspace.uses.claims() as claims:
                mine = [package for package in left if claims.take(f"making {self.place(package).name}")]
                # Those that somebody has finished since this build looked need not be made.
                there = {package: layer for package in mine if (layer := self.find(package)) is not None}
                layers.update(there)
                missing = [package for package in mine if package not in there]
                if missing:
                    made = await self._make(missing, report, watch or Stopwatch())
                    layers.update((layer.package, layer) for layer in made)
            left = [package for package in left if package not in layers]
            if left:
                if not waited:
                    report(Step("queued", f"Another build is making {len(left)} packages; waiting for it"))
                    waited = True
                await asyncio.sleep(_WAIT_SECONDS)
        return [layers[package] for package in packages]

    async def _make(self, packages: Sequence[LockedPackage], report: Report, watch: Stopwatch) -> list[Layer]:
        """Fetch wheels and unpack them."""
        with disk_errors(), contextlib.ExitStack() as drafts:
            folders = {package: drafts.enter_context(self.workspace.draft()) for package in packages}
            async with self.workspace.scratch() as scratch, self.workspace.installing():
                with watch.measure("download"):
                    await self._install_or_blame(list(folders), scratch, report)
                with watch.measure("unpack"):
                    return await asyncio.to_thread(self._lay_all, folders, scratch, report)

    @property
    def site_packages(self) -> str:
        """Where modules lie, relative to a tree."""
        return f"lib/python{self.uv.target.python}/site-packages"

    async def _install_or_blame(self, packages: list[LockedPackage], scratch: Path, report: Report) -> None:
        """Install; where the installer does not say whose fault it is that it cannot, find out."""
        try:
            await self._bounded(self._install(packages, scratch, report))
        except BuildFailure as failure:
            named = failure.culprit is not None and failure.reason is not FailureReason.INVALID_WHEEL
            if named or failure.reason not in _UNNAMED:
                raise
            for package in packages:
                with self.workspace.draft() as alone:
                    try:
                        await self._bounded(self._install([package], alone, silent))
                    except BuildFailure as own:
                        if own.culprit is None:
                            own.culprit = f"{package.name}=={package.version}"
                            own.sentence = f"`{own.culprit}`: {own.sentence}"
                        raise own from None
            if failure.reason is FailureReason.INVALID_WHEEL and len(packages) > 1:
                sentence = (
                    f"`{failure.culprit}` cannot be installed beside the other packages: a file of one is a "
                    "folder of another. Leave one of them out."
                )
                log = failure.log
                raise BuildFailure(FailureReason.CONFLICT, sentence, failure.culprit, log) from None
            raise

    async def _bounded(self, work: Coroutine[None, None, None]) -> None:
        """Do `work` as long as it leaves something on the disk: an archive may unpack to any size."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=_LOOK_SECONDS))[0]:
                self.workspace.require_space(self.least_bytes)
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _install(self, packages: list[LockedPackage], scratch: Path, report: Report) -> None:
        progress = _Downloads(report, [package.size for package in packages])
        arguments = [
            *("--no-deps", "--require-hashes", "--no-break-system-packages"),
            # Links tell which wheel a file is from, even where two wheels bring the same one.
            *("--link-mode=symlink", "--prefix", str(scratch), "-r", "-"),
            *(argument for place in self._built(packages) for argument in ("--find-links", str(place))),
        ]
        text = "".join(f"{package.text}\n" for package in packages)
        await self.uv.pip("install", arguments, text, progress.line)
        progress.done()

    def _built(self, packages: Iterable[LockedPackage]) -> Iterator[Path]:
        """Yield where uv finds wheels that were built here."""
        yield from self.find_links
        for package in packages:
            folders = (built_wheel(self.workspace, value) for value in package.hashes if package.source)
            yield from (folder for folder in folders if folder is not None)

    def _lay_all(self, folders: dict[LockedPackage, Path], scratch: Path, report: Report) -> list[Layer]:
        wheels = installed_from(scratch / self.site_packages, list(folders))
        layers = []
        for done, (package, folder) in enumerate(folders.items()):
            report(Step("unpack", package.name, done, len(folders), "packages"))
            tree = folder / "tree"
            (tree / self.site_packages).mkdir(parents=True)
            try:
                content = WheelTree(wheels[package], tree, self.uv.target.python).lay()
            except WheelRefused as error:
                raise refused(package, str(error)) from None
            layers.append(self._finish(package, folder, content))
        report(Step("unpack", "", len(folders), len(folders), "packages"))
        return layers

    def _finish(self, package: LockedPackage, folder: Path, content: int) -> Layer:
        listing = list_files(folder / "tree")
        kept = {"package": package.text, "content": content, "listing": listing}
        (folder / "layer.json").write_text(json.dumps(kept))
        place = self.place(package)
        publish(folder, place)
        log.info("layer made", extra={"layer": place.name, "package": package.name})
        layer = Layer(package, place / "tree", content, listing)
        self._known[package] = layer
        return layer


def list_files(tree: Path) -> tuple[LayerFile, ...]:
    """Return every regular file below `tree`, sorted by path."""
    found = []
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in os.scandir(f"{tree}/{folder}"):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(f"{folder}{entry.name}/")
            elif stat.S_ISREG(status.st_mode):
                executable = bool(status.st_mode & 0o111)
                found.append(LayerFile(f"{folder}{entry.name}", status.st_size, executable))
    return tuple(sorted(found))


_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_BEGUN = re.compile(r"Downloading (\S+) \(([\d.]+) ?([KMG]i)?B\)")
_ENDED = re.compile(r"Downloaded (\S+)")


class _Downloads:
    """Bytes of wheels under way, from what uv says: it names each large one with its size, and its end."""

    def __init__(self, report: Report, sizes: Sequence[int | None]) -> None:
        self._report = report
        self._begun: dict[str, int] = {}
        self._ended = 0
        # A folder of wheels tells no sizes, and is not downloaded from.
        self._total = sum(size or 0 for size in sizes)
        report(Step("download", f"{len(sizes)} packages", 0, self._total or None, "bytes"))

    def line(self, line: str) -> None:
        """Read one line of uv's log."""
        if begun := _BEGUN.search(line):
            self._begun[begun[1]] = int(float(begun[2]) * _UNITS[f"{begun[3] or ''}B"])
            self._tell(begun[1])
        elif (ended := _ENDED.search(line)) and ended[1] in self._begun:
            self._ended += self._begun[ended[1]]
            self._tell(ended[1])

    def done(self) -> None:
        """Say that everything is there."""
        self._ended = total = max(self._total, sum(self._begun.values()))
        self._report(Step("download", "", total, total, "bytes"))

    def _tell(self, name: str) -> None:
        total = max(self._total, sum(self._begun.values()))
        self._report(Step("download", scrub(name), self._ended, total, "bytes"))
