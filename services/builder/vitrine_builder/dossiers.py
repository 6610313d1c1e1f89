"""The documents that go with an environment: what is in it, and where that comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vitrine_builder.images.config import Image
from vitrine_builder.images.registry_push import Attachment
from vitrine_builder.layers import LayerStore
from vitrine_builder.lock import Lock, LockedPackage, layer_digest
from vitrine_builder.materials import gather
from vitrine_builder.workspace import Workspace
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import EnvironmentWheel

KeepBlob = Callable[[bytes, str], Awaitable[str]]
"""Stores bytes of a media type; returns their digest."""


@dataclass(frozen=True)
class Dossier:
    """SBOM and provenance of one environment, as bytes."""

    sbom: bytes
    provenance: bytes

    @property
    def sbom_digest(self) -> str:
        """Names the SBOM."""
        return sha256_bytes(self.sbom)


@dataclass(frozen=True)
class Dossiers:
    """Makes dossiers of environments whose layers are here, and stores them."""

    workspace: Workspace
    layers: LayerStore

    def make(self, lock: Lock, base: str | None = None, image: str | None = None) -> Dossier:
        """Return the dossier of the environment of `lock`; `base` is what its image stands on."""
        # Late: a third of a second and some megabytes that an idle builder does without.
        from vitrine_builder.provenance import provenance
        from vitrine_builder.sbom import bill_of_materials

        target = self.layers.uv.target
        materials = gather(
            self.workspace,
            lock,
            target=target,
            find=self.layers.find,
            base=base,
        )
        sbom = bill_of_materials(materials)
        return Dossier(sbom, provenance(materials, image, sha256_bytes(sbom)))

    def attachments(self, lock: Lock, image: Image) -> tuple[Attachment, ...]:
        """Return the documents that go with an image where it is sent."""
        # The bottom layers are the base's; a base on this host has one, which is named as it is.
        bottom = next((layer.diff_id for layer in image.layers if layer.kind == "base"), None)
        dossier = self.make(lock, bottom, image.digest)
        return (
            Attachment("sbom", "application/vnd.cyclonedx+json", dossier.sbom),
            Attachment("provenance", "application/vnd.in-toto+json", dossier.provenance),
        )

    def existing(self, lock: Lock) -> frozenset[LockedPackage]:
        """Return those packages whose layer is there already."""
        return frozenset(package for package in lock.packages if self.layers.place(package).is_dir())

    def wheels(self, lock: Lock, reused: frozenset[LockedPackage]) -> list[EnvironmentWheel]:
        """Return the layers of an environment with their sizes; `reused` were there before."""
        found = [(package, self.layers.find(package)) for package in lock.packages]
        target = self.layers.uv.target
        return [
            EnvironmentWheel(
                name=package.name,
                version=package.version,
                digest=layer_digest(package, target),
                size_bytes=layer.size,
                reused=package in reused,
            )
            for package, layer in found
            if layer is not None
        ]
