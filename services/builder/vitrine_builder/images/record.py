"""What is remembered of the image of an environment once it was made and verified."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from vitrine_builder.images.config import BaseImage, Image
from vitrine_builder.workspace import Workspace
from vitrine_common.documents import EnvironmentLayer


@dataclass(frozen=True)
class ImageRecord:
    """An image's digest, that of its base, and its layers from the bottom up."""

    digest: str
    base: str
    layers: tuple[EnvironmentLayer, ...]

    @classmethod
    def of(cls, image: Image, base: BaseImage) -> ImageRecord:
        """Return the record of `image`."""
        layers = tuple(
            EnvironmentLayer(
                diff_id=layer.diff_id,
                size_bytes=layer.size,
                kind=layer.kind,
                packages=list(layer.packages),
                reused=layer.reused,
            )
            for layer in image.layers
        )
        return cls(image.digest, base.digest, layers)


@dataclass(frozen=True)
class ImageRecords:
    """Records by environment digest, in the builder's own folder; configurations lie beside them."""

    workspace: Workspace

    def find(self, environment: str) -> ImageRecord | None:
        """Return the record of an environment's image, or None when there is no such image."""
        try:
            kept = json.loads((self._folder / environment.removeprefix("sha256:")).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        layers = tuple(EnvironmentLayer.model_validate(layer) for layer in kept["layers"])
        return ImageRecord(kept["digest"], kept["base"], layers)

    def keep(self, environment: str, record: ImageRecord, config: bytes) -> None:
        """Remember the image of an environment."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(self._folder / record.digest.replace(":", "-"), config)
        document = {**asdict(record), "layers": [layer.model_dump() for layer in record.layers]}
        self._write(self._folder / environment.removeprefix("sha256:"), json.dumps(document).encode())

    def config(self, digest: str) -> bytes | None:
        """Return the configuration of a remembered image."""
        try:
            return (self._folder / digest.replace(":", "-")).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def _folder(self) -> Path:
        return self.workspace.images / "records"

    def _write(self, place: Path, content: bytes) -> None:
        draft = self.workspace.drafts / place.name
        draft.write_bytes(content)
        draft.replace(place)
