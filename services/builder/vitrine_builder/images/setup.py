"""Images as the operator set them up."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.config import MOST_BASE_LAYERS, BaseImage, ImageLayer
from vitrine_builder.images.docker import Daemon
from vitrine_builder.images.tar import CHUNK
from vitrine_builder.images.work import Images
from vitrine_builder.lock import Target
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.system import Base, SystemStore
from vitrine_builder.workspace import Workspace

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


async def open_images(
    settings: BuilderSettings, workspace: Workspace, target: Target, compiler: str, system: SystemStore
) -> Images | None:
    """Return what assembles images, or None where the operator wants none; a base is made if there is none.

    Raises:
        BuildFailure: there is no base and none can be made, or the Docker daemon does not answer.
    """
    if settings.images == "never":
        return None
    daemon = Daemon(settings.docker_url) if settings.images == "docker" else None
    if settings.base_image:
        if daemon is None:
            sentence = "VITRINE_BUILDER_BASE_IMAGE is for VITRINE_BUILDER_IMAGES=docker; leave it out."
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        base = await asyncio.to_thread(daemon.base, settings.base_image)
    else:
        base = base_image(await system.bases.require(settings.base))
    if len(base.layers) > MOST_BASE_LAYERS:
        sentence = f"The base has {len(base.layers)} layers and may have {MOST_BASE_LAYERS}; flatten it."
        raise BuildFailure(FailureReason.INTERNAL, sentence)
    return Images(workspace, target, compiler, base, daemon)


def base_image(base: Base) -> BaseImage:
    """Return a base that lies on this host as what images stand on."""

    def chunks() -> Iterator[bytes]:
        with base.archive.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    layer = ImageLayer(base.digest, base.archive.stat().st_size, "base", (), reused=True, chunks=chunks)
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    return BaseImage(base.digest, (layer,), {}, architecture)
