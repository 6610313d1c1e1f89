"""Lock to environment: a folder that a sandbox sees as `/env`, put together from layers by hard links.

Layout of `<environments>/<digest hex>/`: `bin/python` (a link to the sandbox's interpreter), `pyvenv.cfg`,
`lib/python3.11/site-packages`, console scripts in `bin`, and `environment.json`, which says what it is.
It is made beside and renamed: whoever finds the folder finds all of it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors
from vitrine_builder.layers import Layer, LayerStore, walk_files
from vitrine_builder.lock import FORMAT_VERSION, Lock, LockedPackage, Target, environment_digest
from vitrine_builder.progress import Report, silent
from vitrine_builder.workspace import Workspace, publish
from vitrine_common.clock import milliseconds_between, utcnow

PYTHON_HOME = "/opt/python/bin"
"""Where a sandbox sees the Python installation's programs."""


@dataclass(frozen=True)
class Materialised:
    """An environment on disk. `made` is false when it was there already; sizes in bytes."""

    digest: str
    path: Path
    packages: int
    files: int
    size: int
    made: bool


@dataclass(frozen=True)
class EnvironmentStore:
    """Finds and makes environments.

    Attributes:
        magic: the magic number of the bytecode in them, hexadecimal; a runner may compare it.
        free_bytes: what must be left on the disk before a new one is begun.
    """

    workspace: Workspace
    layers: LayerStore
    target: Target
    magic: str
    free_bytes: int

    def find(self, lock: Lock) -> Materialised | None:
        """Return the environment of `lock`, or None when it has to be made."""
        digest = environment_digest(lock, self.target)
        path = self.path(digest)
        try:
            kept = json.loads((path / "environment.json").read_bytes())
        except FileNotFoundError:
            return None
        return Materialised(digest, path, len(lock.packages), kept["files"], kept["size"], made=False)

    def path(self, digest: str) -> Path:
        """Return where the environment `digest` is, or would be."""
        return self.workspace.root / digest.removeprefix("sha256:")

    async def materialise(self, lock: Lock, report: Report = silent) -> Materialised:
        """Return the environment of `lock`, made from what is missing; calling it twice works once.

        Raises:
            BuildFailure: a wheel cannot be had, wheels contradict each other, or the disk is full.
        """
        if present := self.find(lock):
            return present
        started = utcnow()
        self.workspace.require_space(self.free_bytes)
        missing = [package for package in lock.packages if self.layers.find(package) is None]
        made = {layer.package: layer for layer in await self.layers.make(missing, report)}
        layers = [made.get(package) or self._layer(package) for package in lock.packages]
        with disk_errors(), self.workspace.draft() as draft:
            files, size = await asyncio.to_thread(assemble, draft, layers, self.target)
            description = {
                "digest": environment_digest(lock, self.target),
                "format": FORMAT_VERSION,
                "python": self.target.python,
                "platform": self.target.platform,
                "magic": self.magic,
                "packages": lock.to_json(),
                "base": lock.system and lock.system.base,
                "system": lock.system and lock.system.digest,
                "system_packages": lock.system.packages if lock.system else (),
                "files": files,
                "size": size,
                "uncompiled": sum(layer.uncompiled for layer in layers),
                "made_at": started.isoformat(),
                "made_in_ms": milliseconds_between(started, utcnow()),
            }
            (draft / "environment.json").write_text(json.dumps(description, indent=1))
            digest = environment_digest(lock, self.target)
            publish(draft, self.path(digest))
        return Materialised(digest, self.path(digest), len(layers), files, size, made=True)

    def _layer(self, package: LockedPackage) -> Layer:
        layer = self.layers.find(package)
        if layer is None:
            sentence = f"The layer of {package.name} was removed while an environment was made of it."
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        return layer


def assemble(root: Path, layers: Sequence[Layer], target: Target) -> tuple[int, int]:
    """Lay out an environment in the empty folder `root`; return its number of files and their bytes.

    Nothing of a package runs: `.pth` files and a `sitecustomize` are files like others here, and act only
    inside a sandbox.

    Raises:
        BuildFailure: one package has a file where another has a folder.
        OSError: the disk is full.
    """
    _lay_interpreter(root, target)
    plan = _plan(layers, _reserved(target))
    known = set[str]()
    size = 0
    for relative, source in plan.items():
        folder = relative.rpartition("/")[0]
        try:
            if folder not in known:
                (root / folder).mkdir(parents=True, exist_ok=True)
                known.add(folder)
            _link(source, f"{root}/{relative}")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            sentence = f"Two packages disagree about `{relative}`: a file in one, a folder in the other."
            raise BuildFailure(FailureReason.CONFLICT, sentence) from None
        size += os.lstat(source).st_size
    return len(plan), size


def _plan(layers: Iterable[Layer], reserved: frozenset[str]) -> dict[str, str]:
    """Decide which layer each file comes from. Where two have one, the later name in the alphabet wins.

    Paths are plain strings here: an environment has tens of thousands, and is made within a second.
    """
    plan: dict[str, str] = {}
    for layer in layers:
        prefix = len(f"{layer.tree}/")
        own = {file[prefix:]: file for file in walk_files(layer.tree)}
        for relative in own.keys() & plan.keys():
            # Bytecode is believed unchecked: that of the source that loses must go with it.
            plan.pop(_bytecode_of(relative), None)
        plan.update((relative, file) for relative, file in own.items() if relative not in reserved)
    return plan


def _bytecode_of(relative: str) -> str:
    source = Path(relative)
    return str(source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc")


def _reserved(target: Target) -> frozenset[str]:
    programs = (f"bin/{name}" for name in ("python", "python3", f"python{target.python}"))
    return frozenset({*programs, "pyvenv.cfg", "environment.json"})


def _lay_interpreter(root: Path, target: Target) -> None:
    (root / "lib" / f"python{target.python}" / "site-packages").mkdir(parents=True)
    programs = root / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(f"{PYTHON_HOME}/python{target.python}")
    (programs / "python3").symlink_to("python")
    (programs / f"python{target.python}").symlink_to("python")
    configuration = f"home = {PYTHON_HOME}\ninclude-system-site-packages = false\nversion = {target.python}\n"
    (root / "pyvenv.cfg").write_text(configuration)


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except OSError as error:
        # Layers on another file system, or a file that has all the links its file system allows.
        if error.errno not in {errno.EXDEV, errno.EMLINK}:
            raise
        shutil.copy2(source, place)
