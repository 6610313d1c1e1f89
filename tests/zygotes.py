"""Engines whose sandboxes share zygotes, and small environments to import."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from sandboxes import SMALL
from vitrine_engine import Limits, Sandbox, SandboxSpec, ScriptModel
from vitrine_engine.process import ProcessEngine
from vitrine_engine.process.nests import Shelter

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_counter = itertools.count(1)


class ZygoteBench:
    """Environments and bundles of one test, and an engine that may share zygotes among them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bundles = directory / "bundles"
        self.bundles.mkdir()
        for path in (directory, self.bundles):
            path.chmod(0o755)
        self.engine = ProcessEngine(directory / "state", bundles=self.bundles)

    def environment(self, modules: Mapping[str, str]) -> Path:
        """Make an environment whose packages are these modules, by name."""
        root = self.directory / f"env-{next(_counter)}"
        site = root / "lib" / VERSION / "site-packages"
        site.mkdir(parents=True)
        (root / "bin").mkdir()
        for name in (VERSION, "python3", "python"):
            (root / "bin" / name).symlink_to(f"/opt/python/bin/{VERSION}")
        (root / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
        for name, text in modules.items():
            (site / f"{name}.py").write_text(text)
        return root

    def bundle(self, files: Mapping[str, str]) -> Path:
        """Write a bundle where the engine finds them."""
        root = self.bundles / f"v{next(_counter)}" / "files"
        root.mkdir(parents=True)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    async def script(
        self,
        environment: Path,
        files: Mapping[str, str],
        owner: str | None = "somebody",
        limits: Limits = SMALL,
        argv: Sequence[str] = (),
    ) -> Sandbox:
        """Start a sandbox of a script, with its zygote ready where it may have one."""
        spec = SandboxSpec(
            id=f"z{next(_counter)}",
            environment=environment,
            bundle=self.bundle(files),
            owner=owner,
            limits=limits,
        )
        await self.engine.warm(spec)
        sandbox = await self.engine.start(spec)
        await sandbox.load(ScriptModel(argv=argv))
        return sandbox

    @property
    def shelters(self) -> list[Shelter]:
        """The nests that are shared."""
        return self.engine.shelters


@pytest.fixture
async def zygotes(tmp_path: Path) -> AsyncIterator[ZygoteBench]:
    """A place to make sandboxes that share zygotes."""
    bench = ZygoteBench(tmp_path)
    yield bench
    await bench.engine.aclose()
