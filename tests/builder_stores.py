"""A builder's store under load: packages of our own, environments looked through, a process that collects."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdist_makers import make_index
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.lock import Lock
from vitrine_builder.materialise import Materialised
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import Workspace, open_workspace
from wheel_forge import Member, forge

SITE = "lib/python3.11/site-packages"
COLLECTOR = """
import sys
from pathlib import Path
from vitrine_builder.collection import Collector
from vitrine_builder.workspace import open_workspace
removed = 0
with open_workspace(Path(sys.argv[1])) as workspace:
    print("ready", flush=True)
    while not Path(sys.argv[2]).exists():
        collected = Collector(workspace, int(sys.argv[3])).collect()
        removed += len(collected.environments) + len(collected.layers)
print(removed)
"""


@dataclass(frozen=True)
class Catalogue:
    """Packages `part0` … on an index in a folder; each module of one says whose it is."""

    index: str
    names: tuple[str, ...]
    modules: int

    def text(self, chosen: Sequence[str]) -> bytes:
        """Return a list of requirements."""
        return "".join(f"{name}==1.0\n" for name in chosen).encode()

    def missing(self, environment: Path, chosen: Sequence[str]) -> list[str]:
        """Return what an environment of `chosen` lacks, or holds of others."""
        wanted = {f"{name}/m{number}.py" for name in chosen for number in range(self.modules)}
        faults = []
        for relative in sorted(wanted):
            try:
                text = (environment / SITE / relative).read_text()
            except OSError as error:
                faults.append(f"{relative}: {error}")
                continue
            if not text.startswith(f"OWNER = {relative.partition('/')[0]!r}"):
                faults.append(f"{relative}: {text[:40]}")
        others = {each.parent.name for each in (environment / SITE).glob("part*/m0.py")} - set(chosen)
        return faults + sorted(others)


def make_catalogue(root: Path, count: int, modules: int = 3, size: int = 500) -> Catalogue:
    """Make the packages and their index below `root`."""
    names = tuple(f"part{number}" for number in range(count))
    for name in names:
        filler = f"# {'x' * 60}\n" * (size // 64)
        members = [
            Member(f"{name}/m{number}.py", f"OWNER = {name!r}\nNUMBER = {number}\n{filler}".encode())
            for number in range(modules)
        ]
        forge(root / "files", name, [Member(f"{name}/__init__.py", b""), *members])
    return Catalogue(make_index(root / "index", root / "files"), names, modules)


@dataclass(frozen=True)
class Store:
    """A builder's parts on one store, in this process."""

    workspace: Workspace
    parts: Parts

    async def make(self, text: bytes) -> tuple[Lock, Materialised]:
        """Resolve and build."""
        lock = await self.parts.resolver.resolve(parse_requirements(text))
        return lock, await self.parts.store.materialise(lock)


@contextlib.asynccontextmanager
async def open_store(root: Path, index: str, **settings: object) -> AsyncIterator[Store]:
    """Give a builder on the store `root`, whose packages come from `index` alone."""
    os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_DEFAULT_INDEX", index)
        for name in ("UV_FIND_LINKS", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL"):
            patch.delenv(name, raising=False)
        chosen = BuilderSettings.model_validate({"free_bytes": 0, **settings})
        with open_workspace(root) as workspace:
            sandboxes = BuildSandboxes(root / ".builder/sandboxes", chosen.build_limits)
            try:
                yield Store(workspace, await open_parts(chosen, workspace, sandboxes))
            finally:
                await sandboxes.aclose()


@contextlib.contextmanager
def collecting(root: Path, enough: Path, limit: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Let another process collect again and again until the file `enough` is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(root), str(enough), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        enough.touch()
        process.wait(30)
        process.stdout.close()


async def removals(process: subprocess.Popen[str]) -> int:
    """Return how much a collecting process removed, once it has ended."""
    assert process.stdout is not None
    return int(await asyncio.to_thread(process.stdout.read))


def left_behind(root: Path) -> list[str]:
    """Return what lies about in a store that is neither finished nor a living builder's."""
    private = root / ".builder"
    found = [
        str(path) for path in (private / "drafts").glob("builder_*/*") if path.name not in {"lock", "sources"}
    ]
    found += [str(path) for path in private.glob("resolutions/*") if path.suffix != ".json"]
    found += [str(path) for path in private.glob("built/*") if path.is_file() and path.suffix != ".json"]
    found += [str(path) for path in (private / "layers").iterdir() if not (path / "layer.json").is_file()]
    found += [str(path) for path in (private / "uv" / "cache").glob(".tmp*")]
    environments = [path for path in root.iterdir() if path.name != ".builder"]
    return found + [str(path) for path in environments if not (path / "environment.json").is_file()]
