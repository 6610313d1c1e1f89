"""Lock to environment: a folder that a sandbox sees as `/env`, put together from layers by hard links.

Layout of `<environments>/<digest hex>/`: `bin/python` (a link to the sandbox's interpreter), `pyvenv.cfg`,
`lib/python3.11/site-packages`, console scripts in `bin`, and `environment.json`, which says what it is.
It is made beside and renamed: whoever finds the folder finds all of it but the bytecode, which follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from vitrine_builder.assembly import Ahead, Guesses, begin_ahead
from vitrine_builder.completion import Completer
from vitrine_builder.failures import disk_errors
from vitrine_builder.images.record import ImageRecord
from vitrine_builder.images.work import Images
from vitrine_builder.layers import Layer, LayerStore
from vitrine_builder.lock import FORMAT_VERSION, Lock, Target, environment_digest
from vitrine_builder.progress import Report, Step, Stopwatch, silent
from vitrine_builder.workspace import Workspace
from vitrine_common.clock import milliseconds_between, utcnow
from vitrine_common.drafts import publish
from vitrine_common.usage import environment_use, layer_use, system_use

_PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]*")
_GUESS_AFTER_SECONDS = 0.02
"""A list that was resolved before is answered within this time, and needs no guess."""


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
        completer: adds bytecode to folders that are published.
        images: assembles images; None where only folders are wanted.
    """

    workspace: Workspace
    layers: LayerStore
    target: Target
    magic: str
    free_bytes: int
    completer: Completer
    images: Images | None = None
    guesses: Guesses = field(default_factory=Guesses, repr=False, compare=False)

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

    @contextlib.asynccontextmanager
    async def in_use(self, lock: Lock) -> AsyncIterator[None]:
        """Keep what there is, or will be, of the environment of `lock` and its layers in the block."""
        with self.workspace.uses.open() as uses:
            await uses.add(environment_use(environment_digest(lock, self.target)))
            await uses.add(*(layer_use(self.layers.place(package).name) for package in lock.packages))
            if lock.system is not None:
                await uses.add(system_use(lock.system.digest))
            yield

    @contextlib.asynccontextmanager
    async def ahead(self, requirements: str) -> AsyncIterator[Ahead]:
        """Begin a folder while `requirements` are still resolved, on the guess that a similar list gives.

        Bytecode of other environments waits while the block lasts.
        """
        lock = self.guesses.guess(requirements.splitlines())
        layers = [self.layers.find(package) for package in (lock.packages if lock else ())]
        known = [layer for layer in layers if layer is not None]
        with self.completer.waiting():
            async with begin_ahead(self.workspace, self.target, known, _GUESS_AFTER_SECONDS) as ahead:
                ahead.wanted = frozenset(_names(requirements))
                yield ahead

    async def materialise(
        self,
        lock: Lock,
        report: Report = silent,
        watch: Stopwatch | None = None,
        ahead: Ahead | None = None,
    ) -> Materialised:
        """Return the environment of `lock`, made from what is missing; calling it twice works once.

        `ahead` is used up, if there is one.

        Raises:
            BuildFailure: a wheel cannot be had, wheels contradict each other, the disk is full, or the
                image cannot be brought where it should be.
        """
        watch = watch or Stopwatch()
        digest = environment_digest(lock, self.target)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.in_use(lock))
            if present := await asyncio.to_thread(self.find, lock):
                return present
            self.workspace.require_space(self.free_bytes)
            found = self._folder(lock)
            if found is None and ahead is None:
                ahead = await stack.enter_async_context(begin_ahead(self.workspace, self.target))
            layers = await self._layers(lock, report, watch, None if found else ahead)
            image = None
            if self.images is not None:
                begun = self.images.begin(digest, lock, layers, report)
                image = await stack.enter_async_context(begun)
            if found is None:
                assert ahead is not None
                with watch.measure("assemble"):
                    report(Step("assemble", f"{len(layers)} packages"))
                    found = await self._assemble(digest, lock, layers, ahead)
            if image is not None:
                with watch.measure("load"):
                    found = replace(found, image=await asyncio.shield(image))
        self.completer.add(found.path, ahead.wanted if ahead else frozenset())
        return replace(found, made=True)

    async def _layers(self, lock: Lock, report: Report, watch: Stopwatch, ahead: Ahead | None) -> list[Layer]:
        """Return the layers in the order of the lock; those that exist are laid out meanwhile."""
        found = {package: self.layers.find(package) for package in lock.packages}
        missing = [package for package, layer in found.items() if layer is None]
        layers = {package: layer for package, layer in found.items() if layer is not None}
        if ahead is not None and layers:
            await ahead.go_on(list(layers.values()))
        if missing:
            made = await self.layers.make(missing, report, watch)
            layers.update((layer.package, layer) for layer in made)
        return [layers[package] for package in lock.packages]

    async def _assemble(self, digest: str, lock: Lock, layers: Sequence[Layer], ahead: Ahead) -> Materialised:
        started = utcnow()
        with disk_errors():
            assembly = await ahead.take(layers)
            await asyncio.to_thread(assembly.lay, layers)
            files, size = assembly.files, assembly.size
            description = {
                "digest": digest,
                "format": FORMAT_VERSION,
                "python": self.target.python,
                "platform": self.target.platform,
                "magic": self.magic,
                "packages": lock.to_json(),
                "layers": [layer.tree.parent.name for layer in layers],
                "base": lock.system.base if lock.system else None,
                "system": lock.system.digest if lock.system else None,
                "system_packages": lock.system.packages if lock.system else (),
                "files": files,
                "size": size,
                "made_at": started.isoformat(),
                "made_in_ms": milliseconds_between(started, utcnow()),
            }
            (assembly.root / "environment.json").write_text(json.dumps(description, indent=1))
            publish(assembly.root, self.path(digest))
        return Materialised(digest, self.path(digest), len(layers), files, size, made=True)

    def _folder(self, lock: Lock) -> Materialised | None:
        digest = environment_digest(lock, self.target)
        path = self.path(digest)
        try:
            kept = json.loads((path / "environment.json").read_bytes())
        except FileNotFoundError:
            return None
        return Materialised(digest, path, len(lock.packages), kept["files"], kept["size"], made=False)


def _names(requirements: str) -> Iterator[str]:
    """Yield the names of the packages that lines of requirements begin with."""
    for line in requirements.splitlines():
        if found := _PACKAGE.match(line):
            yield canonicalize_name(found[0])
