"""A builder that makes images of real wheels, with a Docker daemon or without one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from docker_daemon import DockerDaemon
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.images.config import BaseImage, ImageLayer
from vitrine_builder.images.work import Images
from vitrine_builder.lock import Lock
from vitrine_builder.materialise import Materialised
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import open_workspace

# A C extension with programs, one with a data folder, and plain modules.
FIRST = b"charset-normalizer==3.4.4\nmarkdown-it-py==4.0.0\npyyaml==6.0.3\n"
SECOND = FIRST + b"six==1.17.0\n"
BASE = BaseImage("sha256:" + "b" * 64, (ImageLayer("sha256:" + "b" * 64, 10, "base", reused=True),))


@contextlib.asynccontextmanager
async def builder(root: Path, daemon: DockerDaemon | None = None, **more: object) -> AsyncIterator[Parts]:
    """Give a builder with empty caches below `root`."""
    if daemon is not None:
        more |= {"images": "docker", "docker_url": daemon.url, "base_image": daemon.base_image}
    settings = BuilderSettings.model_validate(more)
    with open_workspace(root) as workspace:
        sandboxes = BuildSandboxes(root / ".builder" / "sandboxes", settings.build_limits)
        try:
            parts = await open_parts(settings, workspace, sandboxes)
            if daemon is None:
                images = Images(workspace, settings.target, BASE)
                object.__setattr__(parts.store, "images", images)
            yield parts
            if parts.store.images is not None and parts.store.images.daemon is not None:
                parts.store.images.daemon.close()
        finally:
            await sandboxes.aclose()


async def make(parts: Parts, requirements: bytes) -> tuple[Lock, Materialised]:
    lock = await parts.resolver.resolve(parse_requirements(requirements))
    return lock, await parts.store.materialise(lock)
