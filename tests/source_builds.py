"""A builder's resolver with everything behind it, on indexes that a test makes, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vitrine_builder.lock import Lock
from vitrine_builder.process import Bounds
from vitrine_builder.progress import Report, silent
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.resolve import Resolver
from vitrine_builder.sdists import BuildLimits, BuildSandboxes, Sdists
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.sources import Sources, open_sources
from vitrine_builder.uv import Uv
from vitrine_builder.workspace import Workspace, open_workspace

LIMITS = BuildLimits(seconds=60, memory_bytes=512 << 20, disk_bytes=64 << 20, processes=64)


@dataclass
class SourceBuilds:
    """What a builder has between a list of requirements and its lock."""

    workspace: Workspace
    sources: Sources
    uv: Uv
    resolver: Resolver
    sandboxes: BuildSandboxes

    async def lock(self, text: str, name: str = "needs.txt") -> Lock:
        """Resolve the requirements `text`."""
        return await self.resolver.resolve(parse_requirements(text.encode(), name))

    @property
    def wheels(self) -> list[Path]:
        """The wheels that were built and kept."""
        return sorted((self.workspace.root / ".builder/built/wheels").glob("*/*"))


async def no_environment(lock: Lock, _report: Report = silent) -> Path:
    """Stand in for environments, where nothing that is built needs one."""
    raise AssertionError(f"an environment of {lock.text!r} is asked for")


@asynccontextmanager
async def source_builds(
    root: Path, environment: Mapping[str, str], limits: BuildLimits = LIMITS
) -> AsyncIterator[SourceBuilds]:
    """Open a resolver that builds sources, in the folder `root`, on the indexes that `environment` names."""
    settings = BuilderSettings()
    with open_workspace(root) as workspace:
        uv = Uv(workspace.installer, settings.python, settings.target, environment, Bounds(120))
        sources = await open_sources(uv, workspace.drafts / "sources", root / "links.json", 600)
        uv = sources.tell(uv)
        sandboxes = BuildSandboxes(root / ".builder/sandboxes", limits)
        wheels_only = Resolver(uv, workspace.resolutions, 60, sources.links, sources.indexes)
        sdists = Sdists(
            workspace, sources.indexes, sandboxes, settings.target, wheels_only.resolve, no_environment
        )
        try:
            yield SourceBuilds(workspace, sources, uv, replace(wheels_only, sources=sdists), sandboxes)
        finally:
            await sandboxes.aclose()
