"""Images as the operator set them up."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.config import MOST_BASE_LAYERS, BaseImage, ImageLayer
from vitrine_builder.images.docker import Daemon
from vitrine_builder.images.layout import Layout
from vitrine_builder.images.pull import Puller
from vitrine_builder.images.registry import open_registry
from vitrine_builder.images.registry_push import Pusher
from vitrine_builder.images.tar import CHUNK
from vitrine_builder.images.work import Images
from vitrine_builder.lock import Target
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.system import Base, SystemStore
from vitrine_builder.workspace import Workspace

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


async def open_images(
    settings: BuilderSettings, workspace: Workspace, target: Target, system: SystemStore
) -> Images | None:
    """Return what assembles images, or None where the operator wants none; a base is made if there is none.

    Raises:
        BuildFailure: there is no base and none can be made, or the Docker daemon does not answer.
    """
    if settings.images == "never":
        return None
    daemon = Daemon(settings.docker_url) if settings.images == "docker" else None
    pusher = _pusher(settings, workspace)
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
    return Images(workspace, target, base, daemon, pusher, _puller(settings, pusher))


def _pusher(settings: BuilderSettings, workspace: Workspace) -> Pusher | None:
    if settings.images == "layout":
        return Pusher(workspace, Layout(workspace), settings.registry_compression)
    if settings.images != "registry":
        return None
    registry = open_registry(
        settings.registry,
        user=settings.registry_user,
        password=settings.registry_password.get_secret_value(),
        mount_from=tuple(settings.registry_mount_from.split()),
    )
    return Pusher(workspace, registry, settings.registry_compression)


def _puller(settings: BuilderSettings, pusher: Pusher | None) -> Puller | None:
    if not settings.registry_pull or pusher is None or settings.images != "registry":
        return None
    return Puller(settings.docker_url, pusher.destination.name)


def base_image(base: Base) -> BaseImage:
    """Return a base that lies on this host as what images stand on."""

    def chunks() -> Iterator[bytes]:
        with base.archive.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    layer = ImageLayer(base.digest, base.archive.stat().st_size, "base", (), reused=True, chunks=chunks)
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    return BaseImage(base.digest, (layer,), {}, architecture)
