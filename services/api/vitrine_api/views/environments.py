"""What a version runs in, as its owner sees it."""

from __future__ import annotations

from dataclasses import dataclass

from vitrine_api.views.page import Fact


@dataclass(frozen=True, kw_only=True)
class Package:
    """A locked package."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer: what is in it, its size, and whether it was there before."""

    kind: str
    digest: str
    size: int
    packages: tuple[str, ...] = ()
    reused: bool = False
    share: float = 0.0
    """Of the largest layer's size, in percent."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentSummary:
    """The lock and what was made of it."""

    digest: str
    python: str
    packages: tuple[Package, ...]
    size: int | None = None
    system: tuple[Package, ...] = ()
    conda: tuple[Package, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    """The largest first."""
    facts: tuple[Fact, ...] = ()
    """Digests of image, base and system packages."""
    reference: str = ""
    export_url: str = ""
    sbom_url: str = ""
    """Empty where there is none."""
    provenance_url: str = ""

    @property
    def layers_made(self) -> int:
        """Layers that were not there before."""
        return sum(not layer.reused for layer in self.layers)

    @property
    def layers_reused(self) -> int:
        """Layers that were."""
        return len(self.layers) - self.layers_made
