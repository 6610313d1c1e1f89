"""Model cards: Markdown in vitrine.yaml, or in a file of the bundle that it names."""

from __future__ import annotations

from vitrine_api.services import Services
from vitrine_api.specs import spec_of
from vitrine_common.bundle import Manifest
from vitrine_common.documents import Version

MAX_BYTES = 200_000


async def card_of(services: Services, version: Version, manifest: Manifest | None = None) -> str:
    """Return the Markdown of a version's card; empty without one. A card that is too long is cut."""
    spec = spec_of(version)
    path = spec.model_card_file()
    if path is None:
        return spec.model_card or ""
    entry = (manifest or await services.models.manifest(version)).entry(path)
    if entry is None:
        return ""
    data = await services.platform.blobs.read_head(entry.digest, MAX_BYTES)
    return data.decode(errors="replace")
