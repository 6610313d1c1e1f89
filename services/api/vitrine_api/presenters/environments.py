"""Environments."""

from __future__ import annotations

from collections.abc import Iterable

from vitrine_api import views
from vitrine_api.environments import EnvironmentOut, Told, environment_out


def environment_summary(told: Told | None, version_url: str) -> views.EnvironmentSummary | None:
    """Return the lock and what was made of it, where the environment has been made."""
    if told is None:
        return None
    shown = environment_out(told)
    return views.EnvironmentSummary(
        digest=shown.digest,
        python=shown.python,
        packages=tuple(views.Package(name=each.name, version=each.version) for each in shown.packages),
        size=shown.size_bytes,
        system=_packages(shown.system),
        conda=_packages(entry.partition(" ")[0].rpartition("/")[2] for entry in shown.conda),
        layers=_layers(shown),
        facts=_facts(shown),
        reference=shown.reference or "",
        export_url=f"{version_url}/environment",
        sbom_url=f"{version_url}/sbom" if shown.sbom_digest else "",
        provenance_url=f"{version_url}/provenance" if shown.provenance_digest else "",
    )


def _packages(entries: Iterable[str]) -> tuple[views.Package, ...]:
    pairs = (entry.partition("=") for entry in entries)
    return tuple(views.Package(name=name, version=version) for name, _, version in pairs)


def _layers(shown: EnvironmentOut) -> tuple[views.LayerRow, ...]:
    largest = max((layer.size_bytes for layer in shown.layers), default=0) or 1
    ordered = sorted(shown.layers, key=lambda layer: -layer.size_bytes)
    return tuple(
        views.LayerRow(
            kind=layer.kind,
            digest=layer.digest,
            size=layer.size_bytes,
            packages=tuple(layer.packages),
            reused=layer.reused,
            share=round(100 * layer.size_bytes / largest, 1),
        )
        for layer in ordered
    )


def _facts(shown: EnvironmentOut) -> tuple[views.Fact, ...]:
    digests = [("Image", shown.image_digest), ("Base", shown.base_digest), ("System", shown.system_digest)]
    return tuple(views.Fact(title=title, value=value, code=True) for title, value in digests if value)
