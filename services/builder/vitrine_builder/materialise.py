"""Lock to environment: a folder that a sandbox sees as `/env`, put together from layers by hard links.

Layout of `<environments>/<digest hex>/`: `bin/python` (a link to the sandbox's interpreter), `pyvenv.cfg`,
`lib/python3.11/site-packages`, console scripts in `bin`, and `environment.json`, which says what it is.
It is made beside and renamed: whoever finds the folder finds all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors
from vitrine_builder.images.content import PYTHON_HOME, configuration, merge, reserved
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.images.record import ImageRecord
from vitrine_builder.images.work import Images, ImageWork, Planned
from vitrine_builder.layers import Layer, LayerStore
from vitrine_builder.lock import FORMAT_VERSION, Lock, LockedPackage, Target, environment_digest
from vitrine_builder.progress import Report, Step, Stopwatch, silent
from vitrine_builder.workspace import Workspace, publish
from vitrine_common.clock import milliseconds_between, utcnow

_LINKERS = 2
"""Threads that make hard links; the kernel lets two work in different folders."""


@dataclass(frozen=True)
class Materialised:
    """An environment on disk. `made` is false when it was there already; sizes in bytes."""

    digest: str
    path: Path
    packages: int
    files: int
    size: int
    made: bool
    image: ImageRecord | None = None


@dataclass(frozen=True)
class EnvironmentStore:
    """Finds and makes environments, and their images where somebody wants them.

    Attributes:
        magic: the magic number of the bytecode in them, hexadecimal; a runner may compare it.
        free_bytes: what must be left on the disk before a new one is begun.
        images: assembles images; None where only folders are wanted.
    """

    workspace: Workspace
    layers: LayerStore
    target: Target
    magic: str
    free_bytes: int
    images: Images | None = None

    def find(self, lock: Lock) -> Materialised | None:
        """Return the environment of `lock`, or None when it, or an image that is wanted, has to be made.

        Raises:
            BuildFailure: the daemon that should have the image does not answer.
        """
        found = self._folder(lock)
        if found is None or self.images is None:
            return found
        record = self.images.find(found.digest)
        return None if record is None else replace(found, image=record)

    def path(self, digest: str) -> Path:
        """Return where the environment `digest` is, or would be."""
        return self.workspace.root / digest.removeprefix("sha256:")

    async def materialise(
        self, lock: Lock, report: Report = silent, watch: Stopwatch | None = None
    ) -> Materialised:
        """Return the environment of `lock`, made from what is missing; calling it twice works once.

        Raises:
            BuildFailure: a wheel cannot be had, wheels contradict each other, the disk is full, or the
                image cannot be brought where it should be.
        """
        watch = watch or Stopwatch()
        if present := await asyncio.to_thread(self.find, lock):
            return present
        self.workspace.require_space(self.free_bytes)
        digest = environment_digest(lock, self.target)
        async with self._image(digest, lock, report) as image:
            layers = await self._layers(lock, report, watch, image)
            found = self._folder(lock)
            if found is None:
                with watch.measure("assemble"):
                    report(Step("assemble", f"{len(layers)} packages"))
                    found = await self._assemble(digest, lock, layers)
            if image is not None:
                with watch.measure("load"):
                    found = replace(found, image=await image.finish())
        return replace(found, made=True)

    @contextlib.asynccontextmanager
    async def _image(self, digest: str, lock: Lock, report: Report) -> AsyncIterator[ImageWork | None]:
        if self.images is None:
            yield None
            return
        image = self.images.begin(digest, lock, report)
        try:
            yield image
        finally:
            await image.abandon()

    async def _layers(
        self, lock: Lock, report: Report, watch: Stopwatch, image: ImageWork | None
    ) -> list[Layer]:
        """Return the layers in the order of the lock; the image hears of each as soon as it is there."""
        found = {package: self.layers.find(package) for package in lock.packages}
        missing = [package for package, layer in found.items() if layer is None]
        layers = {package: layer for package, layer in found.items() if layer is not None}

        def plan(contents: Mapping[LockedPackage, int]) -> None:
            if image is not None:
                known = {package: layer.content for package, layer in layers.items()}
                sizes = {**known, **contents}
                image.plan([Planned(package, sizes[package]) for package in lock.packages])
                for layer in layers.values():
                    image.add(layer)

        def add(layer: Layer) -> None:
            if image is not None:
                image.add(layer)

        if missing:
            made = await self.layers.make(missing, report, watch, plan, add)
            layers.update((layer.package, layer) for layer in made)
        else:
            plan({})
        return [layers[package] for package in lock.packages]

    async def _assemble(self, digest: str, lock: Lock, layers: Sequence[Layer]) -> Materialised:
        started = utcnow()
        with disk_errors(), self.workspace.draft() as draft:
            files, size = await asyncio.to_thread(assemble, draft, layers, self.target)
            description = {
                "digest": digest,
                "format": FORMAT_VERSION,
                "python": self.target.python,
                "platform": self.target.platform,
                "magic": self.magic,
                "packages": lock.to_json(),
                "files": files,
                "size": size,
                "uncompiled": sum(layer.uncompiled for layer in layers),
                "made_at": started.isoformat(),
                "made_in_ms": milliseconds_between(started, utcnow()),
            }
            (draft / "environment.json").write_text(json.dumps(description, indent=1))
            publish(draft, self.path(digest))
        return Materialised(digest, self.path(digest), len(layers), files, size, made=True)

    def _folder(self, lock: Lock) -> Materialised | None:
        digest = environment_digest(lock, self.target)
        path = self.path(digest)
        try:
            kept = json.loads((path / "environment.json").read_bytes())
        except FileNotFoundError:
            return None
        return Materialised(digest, path, len(lock.packages), kept["files"], kept["size"], made=False)


def assemble(root: Path, layers: Sequence[Layer], target: Target) -> tuple[int, int]:
    """Lay out an environment in the empty folder `root`; return its number of files and their bytes.

    Where two packages have a file of one name, the one wins that lies higher in the environment's image.
    Nothing of a package runs: `.pth` files and a `sitecustomize` are files like others here, and act only
    inside a sandbox.

    Raises:
        BuildFailure: one package has a file where another has a folder.
        OSError: the disk is full.
    """
    _lay_interpreter(root, target)
    ordered = [layer for group in plan_layers(layers) for layer in group]
    kept = reserved(target)
    merged = {path: found for path, found in merge(ordered).items() if path not in kept}
    folders: dict[str, list[tuple[str, str]]] = {}
    for path, (layer, _file) in merged.items():
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append((f"{layer.tree}/{path}", name))
    try:
        for folder in sorted(folders):
            (root / folder).mkdir(parents=True, exist_ok=True)
        _link_all(root, folders)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        relative = os.path.relpath(error.filename2 or error.filename, root)
        sentence = f"Two packages disagree about `{relative}`: a file in one, a folder in the other."
        raise BuildFailure(FailureReason.CONFLICT, sentence) from None
    return len(merged), sum(file.size for _layer, file in merged.values())


def _link_all(root: Path, folders: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    stop = threading.Event()

    def link(names: Sequence[str]) -> None:
        try:
            for folder in names:
                if stop.is_set():
                    return
                place = f"{root}/{folder}/" if folder else f"{root}/"
                for source, name in folders[folder]:
                    _link(source, place + name)
        except BaseException:
            stop.set()
            raise

    names = sorted(folders)
    with ThreadPoolExecutor(_LINKERS) as pool:
        half = len(names) // _LINKERS + 1
        for done in [pool.submit(link, names[at : at + half]) for at in range(0, len(names), half)]:
            done.result()


def _lay_interpreter(root: Path, target: Target) -> None:
    (root / "lib" / f"python{target.python}" / "site-packages").mkdir(parents=True)
    programs = root / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(f"{PYTHON_HOME}/python{target.python}")
    (programs / "python3").symlink_to("python")
    (programs / f"python{target.python}").symlink_to("python")
    (root / "pyvenv.cfg").write_text(configuration(target))


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except OSError as error:
        # Layers on another file system, or a file that has all the links its file system allows.
        if error.errno not in {errno.EXDEV, errno.EMLINK}:
            raise
        shutil.copy2(source, place)
