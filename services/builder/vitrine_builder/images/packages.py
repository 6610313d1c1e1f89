"""System packages as a layer of an image."""

from __future__ import annotations

from collections.abc import Iterator

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.config import BaseImage, ImageLayer
from vitrine_builder.images.tar import CHUNK
from vitrine_builder.lock import SystemLock
from vitrine_builder.system import load_system
from vitrine_builder.workspace import Workspace


def system_layers(workspace: Workspace, base: BaseImage, system: SystemLock | None) -> list[ImageLayer]:
    """Return the layers that lie right above the base: one, or none where nothing was installed.

    Raises:
        BuildFailure: the packages were installed on another base, or their layer is gone.
    """
    if system is None or not system.packages:
        return []
    if system.base != base.digest:
        sentence = (
            "System packages stand on the builder's own base, and images here on another one. The operator "
            "makes that image the base (`docker export`, then `python -m vitrine_builder.base --archive`) "
            "and leaves VITRINE_BUILDER_BASE_IMAGE out."
        )
        raise BuildFailure(FailureReason.INTERNAL, sentence)
    layer = load_system(workspace, system.digest)
    if layer is None:
        sentence = "The layer of system packages was removed while an image was made of it; build again."
        raise BuildFailure(FailureReason.INTERNAL, sentence)

    def chunks() -> Iterator[bytes]:
        with layer.archive.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    packages = tuple(package.replace("=", "==", 1) for package in layer.packages)
    return [ImageLayer(layer.diff_id, layer.size, "system", packages, reused=True, chunks=chunks)]
